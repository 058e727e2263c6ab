/** Sizes and times, as people write and read them. */

const POWERS = 'KMGTP';

/** Bytes of '512', '64K', '1.5M' (powers of 1024, also as KiB) or '10MB' (powers of 1000); undefined: it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(?:([KMGTP])(iB|B)?|B)?$/i.exec(text);
  if (match === null) return undefined;
  const [, digits = '', power = '', suffix = ''] = match;
  const base = suffix.toLowerCase() === 'b' ? 1000 : 1024;
  const exponent = power === '' ? 0 : POWERS.indexOf(power.toUpperCase()) + 1;
  const bytes = Math.round(Number(digits) * base ** exponent);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The same, above 0. */
export function parseRate(text: string): number | undefined {
  const bytes = parseSize(text.replace(/\/s$/, ''));
  return bytes === 0 ? undefined : bytes;
}

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** The longest time of a timer. */
const LONGEST = 2 ** 31 - 1;

/** Milliseconds of '250ms', '30s', '5m', '1h' or '30' (seconds); undefined: it is none, or longer than 24 days. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null) return undefined;
  const milliseconds = Math.round(Number(match[1]) * (MILLISECONDS[match[2] ?? 's'] as number));
  return milliseconds <= LONGEST ? milliseconds : undefined;
}

/** A whole number from `least` on. */
export const parseCount =
  (least: number) =>
  (text: string): number | undefined =>
    /^\d{1,9}$/.test(text) && Number(text) >= least ? Number(text) : undefined;

/** '1.5 MiB'. */
export function formatBytes(bytes: number): string {
  let exponent = 0;
  let value = bytes;
  while (value >= 1023.95 && exponent < POWERS.length) {
    value /= 1024;
    exponent++;
  }
  return exponent === 0 ? `${Math.round(bytes)} B` : `${value.toFixed(1)} ${POWERS[exponent - 1]}iB`;
}

/** '0.003 s', '12.3 s'. */
export const formatSeconds = (milliseconds: number): string =>
  `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 3 : 1)} s`;

/** 'cp: 1.5 MiB in 0.010 s (150.0 MiB/s) by copy: why'. What every command says at its end. */
export function summary(what: string, bytes: number, milliseconds: number, method?: string, reason?: string): string {
  const rate = milliseconds > 0 && bytes > 0 ? ` (${formatBytes((bytes / milliseconds) * 1000)}/s)` : '';
  const way = method === undefined ? '' : ` by ${method}`;
  return `${what}: ${formatBytes(bytes)} in ${formatSeconds(milliseconds)}${rate}${way}${reason ? `: ${reason}` : ''}`;
}
