/** Dates of HTTP (RFC 9110, 5.6.7): one form is sent, three are understood. */

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const IMF_FIXDATE = /^[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const RFC_850 = /^[A-Z][a-z]+day, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const ASCTIME = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;
const YEAR_MAX = 253_402_300_799_000;

/** A time in milliseconds, to the second below, as it is sent. */
export function formatHttpDate(time: number): string {
  return new Date(Math.min(Math.max(time, 0), YEAR_MAX)).toUTCString();
}

/** Milliseconds since 1970, or undefined if `text` is no date of HTTP. */
export function parseHttpDate(text: string): number | undefined {
  const imf = IMF_FIXDATE.exec(text);
  if (imf !== null) return time(imf[3], imf[2], imf[1], imf[4], imf[5], imf[6]);
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) return time(century(Number(rfc850[3])), rfc850[2], rfc850[1], rfc850[4], rfc850[5], rfc850[6]);
  const asctime = ASCTIME.exec(text);
  if (asctime !== null) return time(asctime[6], asctime[1], asctime[2], asctime[3], asctime[4], asctime[5]);
  return undefined;
}

/** Two digits that would be more than 50 years in the future are of the past century (RFC 9110, 5.6.7). */
function century(year: number): number {
  const now = new Date().getUTCFullYear();
  const full = now - (now % 100) + year;
  return full > now + 50 ? full - 100 : full;
}

type Field = string | number | undefined;

function time(year: Field, month: Field, day: Field, hour: Field, minute: Field, second: Field): number | undefined {
  const monthNumber = MONTHS.indexOf(String(month));
  if (monthNumber < 0 || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), monthNumber, Number(day));
  date.setUTCHours(Number(hour), Number(minute), Number(second));
  return Number(day) >= 1 && Number(day) <= 31 ? date.getTime() : undefined;
}
