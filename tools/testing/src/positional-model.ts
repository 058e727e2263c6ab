/** Random reads and writes at positions of a file, done to it and to a Buffer beside: both must stay the same. */
import { readFileSync, statSync, truncateSync } from 'node:fs';
import { pattern } from './bytes.js';

/** What is done to the file by the one that is tested. */
export interface PositionalFile {
  read(position: number, length: number): Promise<Uint8Array>;
  readInto(position: number, target: Uint8Array): Promise<number>;
  write(position: number, data: Uint8Array): Promise<number>;
  truncate(length: number): Promise<void>;
}

/** One step. `position` and `length` in bytes. */
export interface PositionalStep {
  readonly act: 'read' | 'readInto' | 'write' | 'truncate' | 'cut by another';
  readonly position: number;
  readonly length: number;
  /** Where the memory of a write, or of a readInto, begins behind an address that V8 has chosen. */
  readonly skip: number;
}

const at = (step: PositionalStep): string => `${step.act} of ${step.length} at ${step.position}`;

/** Does the steps one after the other. @throws {Error} at the first difference. */
export async function comparePositional(
  path: string,
  file: PositionalFile,
  steps: readonly PositionalStep[],
): Promise<void> {
  let model = Buffer.alloc(0);
  const resize = (length: number): void => {
    model = Buffer.concat([model.subarray(0, length)], length); // filled with zeros
  };
  for (const [index, step] of steps.entries()) {
    const { act, position, length, skip } = step;
    const expected = model.subarray(position, position + length);
    if (act === 'write') {
      const data = pattern(length + skip, index * 7919).subarray(skip);
      if ((await file.write(position, data)) !== length) throw new Error(`${at(step)}: another count`);
      if (length > 0 && position + length > model.length) resize(position + length);
      data.copy(model, position);
    } else if (act === 'read') {
      const got = await file.read(position, length);
      if (!expected.equals(got)) throw new Error(`${at(step)}: ${got.length} bytes, and not those of the file`);
    } else if (act === 'readInto') {
      const memory = Buffer.alloc(skip + length + 1, 0xa5);
      const count = await file.readInto(position, memory.subarray(skip, skip + length));
      if (count !== expected.length) throw new Error(`${at(step)}: ${count} instead of ${expected.length} bytes`);
      if (!memory.subarray(skip, skip + count).equals(expected)) throw new Error(`${at(step)}: other bytes`);
      const around = [...memory.subarray(0, skip), ...memory.subarray(skip + length)];
      if (around.some((byte) => byte !== 0xa5)) throw new Error(`${at(step)}: it wrote outside of the target`);
    } else {
      if (act === 'truncate') await file.truncate(position);
      else truncateSync(path, position);
      resize(position);
    }
    const { size } = statSync(path);
    if (size !== model.length) throw new Error(`${at(step)}: the file has ${size} instead of ${model.length} bytes`);
  }
  if (!readFileSync(path).equals(model)) throw new Error('node:fs reads other bytes in the end');
}
