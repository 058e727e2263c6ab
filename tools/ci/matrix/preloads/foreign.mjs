/** Another platform or architecture, as far as process tells: ZEROCOPY_FOREIGN is `darwin`, `win32` or `riscv64`. */
const foreign = process.env.ZEROCOPY_FOREIGN;
const name = foreign === 'riscv64' ? 'arch' : 'platform';
Object.defineProperty(process, name, { value: foreign, enumerable: true, configurable: true });
