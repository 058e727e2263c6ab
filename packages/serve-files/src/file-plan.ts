/** The answer to GET or HEAD for a file that has been found: which representation, which state, which part of it. */
import { randomBytes } from 'node:crypto';
import { read } from 'node:fs';
import { evaluateConditions, evaluateIfRange, type Validators } from './conditions.js';
import { contentTypeOf } from './content-type.js';
import { entityTagFrom, entityTagOf } from './entity-tag.js';
import { cachingFields, dispositionFields, ownFields, presetFields } from './header-fields.js';
import { formatHttpDate } from './http-date.js';
import { type Steps, settled } from './maybe.js';
import { OpenedFile } from './opened-file.js';
import { Plan, type PlanHeaders, type PlanPart, plainPlan, type Question, type Site } from './plan.js';
import { acceptedEncodings, type Encoding, variantPath } from './precompressed.js';
import { type ByteRange, contentRange, isByteRange, parseRange } from './ranges.js';
import { Pace } from './rate.js';

/** What is sent of a resource. */
interface Representation {
  readonly file: OpenedFile;
  /** Undefined: the file itself. */
  readonly encoding: Encoding | undefined;
  /** Whether there was anything to choose from. */
  readonly negotiated: boolean;
}

/** A sidecar file is read up to here. */
const SIDECAR_MAX = 1024;
/** What is made up as it is read is held in memory, up to here. */
const INVENTED_MAX = 16 * 1024 * 1024;

/** Takes over `file`: it is released, or part of the plan. */
export function* planFile(file: OpenedFile, question: Question, site: Site): Steps<Plan> {
  let selected: OpenedFile = file;
  let plan: Plan | undefined;
  try {
    if (file.unsized) return yield* planInvented(file, question, site);
    const representation = yield* select(file, question, site);
    selected = representation.file;
    plan = yield* planRepresentation(file, representation, question, site);
    return plan;
  } finally {
    if (selected !== file) file.release();
    // Each part of the plan has taken a hold of its own.
    selected.release();
  }
}

/** The variant that the client prefers, if there is one; ranges are always of the file itself. */
function* select(file: OpenedFile, { method, field }: Question, { root, settings }: Site): Steps<Representation> {
  const offered = settings.precompressed;
  if (offered.length === 0) return { file, encoding: undefined, negotiated: false };
  const range = method === 'GET' ? field('range') : undefined;
  const ranged = range !== undefined && isByteRange(range);
  const accepted = ranged ? [] : acceptedEncodings(field('accept-encoding'), offered);
  for (const encoding of accepted) {
    const variant = yield* settled(root.open(variantPath(file.path, encoding)));
    if (variant instanceof OpenedFile) return { file: variant, encoding, negotiated: true };
  }
  for (const encoding of offered) {
    if (accepted.includes(encoding)) continue;
    const status = yield* settled(root.look(variantPath(file.path, encoding)));
    if (status?.isFile === true) return { file, encoding: undefined, negotiated: true };
  }
  return { file, encoding: undefined, negotiated: false };
}

function* planRepresentation(
  original: OpenedFile,
  { file, encoding, negotiated }: Representation,
  question: Question,
  site: Site,
): Steps<Plan> {
  const { field, method } = question;
  const { settings } = site;
  const path = `/${original.path}`;
  const { status, size } = file;
  const etag = yield* tagOf(original, file, encoding, site);
  const modified = lastModifiedOf(status.mtimeMs);
  const validators: Validators = { etag, lastModified: modified };
  const outcome = evaluateConditions(field, validators);
  if (outcome === 412) return plainPlan(412, question);

  const common: Record<string, string | readonly string[]> = {
    ...(etag === undefined ? {} : { etag }),
    'last-modified': formatHttpDate(modified),
    ...cachingFields(path, status, settings),
    ...(negotiated ? { vary: 'Accept-Encoding' } : {}),
    ...presetFields(settings),
  };
  const own = ownFields(path, status, settings);
  if (outcome === 304) return new Plan({ status: 304, headers: withFields(common, own, true), path });

  const range = method === 'GET' ? field('range') : undefined;
  const ranges =
    range !== undefined && encoding === undefined && evaluateIfRange(field, validators)
      ? parseRange(range, size)
      : undefined;
  if (ranges === 'unsatisfiable') {
    const headers = { 'content-range': `bytes */${size}`, 'content-length': '0', ...presetFields(settings) };
    return new Plan({ status: 416, headers, path });
  }
  const type = contentTypeOf(path, settings.types);
  const whole: Record<string, string | readonly string[]> = withFields(
    {
      ...common,
      'accept-ranges': 'bytes',
      'content-type': type,
      ...(encoding === undefined ? {} : { 'content-encoding': encoding }),
      ...dispositionFields(path, settings),
    },
    own,
    false,
  );
  const typeSent = String(whole['content-type']);
  const body = ranges === undefined ? wholeBody(file) : partialBody(file, ranges, typeSent);
  const parts = method === 'HEAD' ? [] : body.parts;
  for (const part of parts) if ('file' in part) part.file.hold();
  return new Plan({
    status: ranges === undefined ? 200 : 206,
    headers: { ...whole, ...body.headers },
    parts,
    path,
    pace: parts.length === 0 ? undefined : paceOf(path, status, settings),
  });
}

interface Body {
  readonly headers: PlanHeaders;
  readonly parts: readonly PlanPart[];
}

function wholeBody(file: OpenedFile): Body {
  const { size } = file;
  return { headers: { 'content-length': String(size) }, parts: size === 0 ? [] : [{ file, start: 0, length: size }] };
}

function partialBody(file: OpenedFile, ranges: readonly ByteRange[], type: string): Body {
  const { size } = file;
  const [first] = ranges;
  if (first !== undefined && ranges.length === 1) {
    const length = first.end - first.start + 1;
    return {
      headers: { 'content-range': contentRange(first, size), 'content-length': String(length) },
      parts: [{ file, start: first.start, length }],
    };
  }
  // RFC 9110, 14.6
  const boundary = randomBytes(12).toString('hex');
  const parts: PlanPart[] = [];
  let length = 0;
  const text = (lines: string): void => {
    const bytes = Buffer.from(lines, 'latin1');
    parts.push(bytes);
    length += bytes.length;
  };
  for (const range of ranges) {
    const before = parts.length === 0 ? '' : '\r\n';
    text(`${before}--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${contentRange(range, size)}\r\n\r\n`);
    const bytes = range.end - range.start + 1;
    parts.push({ file, start: range.start, length: bytes });
    length += bytes;
  }
  text(`\r\n--${boundary}--\r\n`);
  return {
    headers: { 'content-type': `multipart/byteranges; boundary=${boundary}`, 'content-length': String(length) },
    parts,
  };
}

/** Not later than now (RFC 9110, 8.8.2.1), and to the second, as it can be sent. */
function lastModifiedOf(mtimeMs: number): number {
  return Math.max(0, Math.floor(Math.min(mtimeMs, Date.now()) / 1000) * 1000);
}

const paceOf = (path: string, stat: OpenedFile['status'], { rate, rateAfter }: Site['settings']): Pace | undefined =>
  Pace.of(typeof rate === 'function' ? rate(path, stat) : rate, rateAfter);

/** Fields of the caller's own replace ours, and Vary is added to. What frames a body is not theirs. */
function withFields(
  fields: Record<string, string | readonly string[]>,
  own: PlanHeaders,
  notModified: boolean,
): Record<string, string | readonly string[]> {
  const all = { ...fields };
  for (const [name, value] of Object.entries(own)) {
    // A 304 says nothing of the representation but what may have changed of it (RFC 9110, 15.4.5).
    if (notModified && name.startsWith('content-') && !KEPT.has(name)) continue;
    all[name] = name === 'vary' && all.vary !== undefined ? `${all.vary}, ${value}` : value;
  }
  return all;
}

const KEPT: ReadonlySet<string> = new Set(['content-location', 'content-security-policy']);

function* tagOf(
  original: OpenedFile,
  file: OpenedFile,
  encoding: Encoding | undefined,
  { root, settings }: Site,
): Steps<string | undefined> {
  const { etag } = settings;
  const suffix = encoding ?? '';
  if (etag === false) return undefined;
  if (typeof etag === 'function') {
    const tag = etag(`/${original.path}`, file.status);
    return tag === undefined ? undefined : entityTagFrom(tag, suffix);
  }
  if (typeof etag === 'object') {
    const found = yield* settled(root.open(`${original.path}${etag.sidecar}`));
    if (found instanceof OpenedFile) {
      const bytes = yield* settled(readUpTo(found, SIDECAR_MAX));
      const [word = ''] = bytes.toString('latin1').trim().split(/\s/);
      const tag = word === '' ? undefined : entityTagFrom(word, suffix);
      if (tag !== undefined) return tag;
    }
  }
  return entityTagOf(file.status, suffix);
}

/** A file of procfs or sysfs: what it holds is known once it has been read. It has no state to be compared with. */
function* planInvented(file: OpenedFile, question: Question, { settings }: Site): Steps<Plan> {
  file.hold();
  const bytes = yield* settled(readUpTo(file, INVENTED_MAX + 1));
  const path = `/${file.path}`;
  if (bytes.length > INVENTED_MAX) return plainPlan(404, question);
  const headers = withFields(
    {
      ...cachingFields(path, file.status, settings),
      ...presetFields(settings),
      'content-type': contentTypeOf(path, settings.types),
      ...dispositionFields(path, settings),
    },
    ownFields(path, file.status, settings),
    false,
  );
  return new Plan({
    status: 200,
    headers: { ...headers, 'content-length': String(bytes.length) },
    parts: question.method === 'HEAD' || bytes.length === 0 ? [] : [bytes],
    path,
  });
}

/** From its beginning, up to `max` bytes. Releases the file. */
async function readUpTo(file: OpenedFile, max: number): Promise<Buffer> {
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    while (length < max) {
      const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, max - length));
      const bytes = await readAt(file.fd, chunk, length);
      if (bytes === 0) break;
      chunks.push(chunk.subarray(0, bytes));
      length += bytes;
    }
    return Buffer.concat(chunks, length);
  } finally {
    file.release();
  }
}

const readAt = (fd: number, buffer: Buffer, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
