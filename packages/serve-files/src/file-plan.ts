/** The answer to GET or HEAD for a file that has been found: which representation, which state, which part of it. */
import { evaluateConditions, evaluateIfRange, type Validators } from './conditions.js';
import { contentTypeOf } from './content-type.js';
import { entityTagFrom, entityTagOf } from './entity-tag.js';
import type { FileStatus } from './file-status.js';
import { addCaching, addDisposition, addOwn, addPresets, type Fields } from './header-fields.js';
import { formatHttpDate } from './http-date.js';
import { type Steps, settled } from './maybe.js';
import { OpenedFile } from './opened-file.js';
import type { Settings } from './options.js';
import { NOTHING, Plan, type PlanHeaders, type PlanPart, plainPlan, type Question, type Site } from './plan.js';
import { acceptedEncodings, type Encoding, variantPath } from './precompressed.js';
import { type ContentRange, contentRange, isByteRange, parseRange } from './ranges.js';
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
    const { precompressed } = site.settings;
    const representation = precompressed.length === 0 ? alone(file) : yield* select(file, question, site);
    selected = representation.file;
    plan = yield* planRepresentation(file, representation, question, site);
    return plan;
  } finally {
    if (selected !== file) file.release();
    // Each part of the plan has taken a hold of its own.
    selected.release();
  }
}

const alone = (file: OpenedFile): Representation => ({ file, encoding: undefined, negotiated: false });

/** The variant that the client prefers, if there is one; ranges are always of the file itself. */
function* select(file: OpenedFile, { method, field }: Question, { root, settings }: Site): Steps<Representation> {
  const offered = settings.precompressed;
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
  return alone(file);
}

function* planRepresentation(
  original: OpenedFile,
  representation: Representation,
  question: Question,
  site: Site,
): Steps<Plan> {
  const { field, method } = question;
  const { settings } = site;
  const { file, encoding } = representation;
  const path = `/${original.path}`;
  const description = knownDescription(representation, settings) ?? (yield* describe(original, representation, site));
  const outcome = evaluateConditions(field, description);
  if (outcome === 412) return plainPlan(412, question);
  if (outcome === 304) {
    description.notModified ??= headOf(original, representation, description, settings, true);
    return new Plan({ status: 304, headers: description.notModified, path, lasting: description.lasting });
  }
  const range = method === 'GET' ? field('range') : undefined;
  const ranges =
    range !== undefined && encoding === undefined && evaluateIfRange(field, description)
      ? parseRange(range, file.size)
      : undefined;
  if (ranges === 'unsatisfiable') {
    const headers: Fields = { 'content-range': `bytes */${file.size}`, 'content-length': '0' };
    addPresets(headers, settings);
    return new Plan({ status: 416, headers, path });
  }
  description.whole ??= headOf(original, representation, description, settings, false);
  const whole = description.whole;
  const body = ranges === undefined ? undefined : partialBody(file, ranges, String(whole['content-type']));
  const parts = method === 'HEAD' ? NOTHING : (body?.parts ?? wholeBody(file));
  if (parts.length > 0 && !(yield* settled(file.open()))) return plainPlan(404, question);
  for (const part of parts) if ('file' in part) part.file.hold();
  return new Plan({
    status: body === undefined ? 200 : 206,
    headers: body === undefined ? whole : Object.assign({}, whole, body.headers),
    parts,
    path,
    lasting: body === undefined && description.lasting,
    pace: parts.length === 0 || settings.rate === undefined ? undefined : paceOf(path, file.status, settings),
  });
}

/** What is said of a representation, kept for as long as its root remembers the status of the file. */
interface Description extends Validators {
  readonly settings: Settings;
  /** Whether it says the same as long as the file is unchanged. */
  readonly lasting: boolean;
  readonly encoding: Encoding | undefined;
  readonly negotiated: boolean;
  /** The head of a 200. */
  whole: PlanHeaders | undefined;
  /** The head of a 304. */
  notModified: PlanHeaders | undefined;
}

/** By the status of a file at a path, which is another object once anything of the file has changed. */
const descriptions = new WeakMap<FileStatus, Description>();

function knownDescription({ file, encoding, negotiated }: Representation, settings: Settings): Description | undefined {
  const before = descriptions.get(file.status);
  const same = before?.settings === settings && before.encoding === encoding && before.negotiated === negotiated;
  return same ? before : undefined;
}

function* describe(
  original: OpenedFile,
  { file, encoding, negotiated }: Representation,
  site: Site,
): Steps<Description> {
  const { settings } = site;
  const { mtimeMs } = file.status;
  const now = Date.now();
  const description: Description = {
    settings,
    // What functions answer may be another thing the next time.
    lasting: settings.unchanging && mtimeMs <= now,
    etag: yield* tagOf(original, file, encoding, site),
    // Not later than now (RFC 9110, 8.8.2.1), and to the second, as it can be sent.
    lastModified: Math.max(0, Math.floor(Math.min(mtimeMs, now) / 1000) * 1000),
    encoding,
    negotiated,
    whole: undefined,
    notModified: undefined,
  };
  if (description.lasting) descriptions.set(file.status, description);
  return description;
}

function headOf(
  original: OpenedFile,
  { file, encoding, negotiated }: Representation,
  { etag, lastModified }: Description,
  settings: Settings,
  notModified: boolean,
): PlanHeaders {
  const path = `/${original.path}`;
  const fields: Fields = {};
  if (!notModified) {
    fields['content-type'] = contentTypeOf(path, settings.types);
    fields['content-length'] = String(file.size);
    if (encoding !== undefined) fields['content-encoding'] = encoding;
    fields['accept-ranges'] = 'bytes';
    addDisposition(fields, path, settings);
  }
  if (etag !== undefined) fields.etag = etag;
  if (lastModified !== undefined) fields['last-modified'] = formatHttpDate(lastModified);
  if (negotiated) fields.vary = 'Accept-Encoding';
  addCaching(fields, path, file.status, settings);
  addPresets(fields, settings);
  addOwn(fields, path, file.status, settings, notModified);
  return fields;
}

interface Body {
  readonly headers: PlanHeaders;
  readonly parts: readonly PlanPart[];
}

function wholeBody(file: OpenedFile): readonly PlanPart[] {
  return file.size === 0 ? NOTHING : [{ file, start: 0, length: file.size }];
}

function partialBody(file: OpenedFile, ranges: readonly ContentRange[], type: string): Body {
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
  const boundary = process.getBuiltinModule('node:crypto').randomBytes(12).toString('hex');
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

const paceOf = (path: string, stat: OpenedFile['status'], { rate, rateAfter }: Site['settings']): Pace | undefined =>
  Pace.of(typeof rate === 'function' ? rate(path, stat) : rate, rateAfter);

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
  const headers: Fields = { 'content-type': contentTypeOf(path, settings.types) };
  addDisposition(headers, path, settings);
  addCaching(headers, path, file.status, settings);
  addPresets(headers, settings);
  addOwn(headers, path, file.status, settings, false);
  headers['content-length'] = String(bytes.length);
  return new Plan({
    status: 200,
    headers,
    parts: question.method === 'HEAD' || bytes.length === 0 ? [] : [bytes],
    path,
  });
}

/** From its beginning, up to `max` bytes. Releases the file. */
async function readUpTo(file: OpenedFile, max: number): Promise<Buffer> {
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    if (!(await file.open())) return Buffer.alloc(0);
    while (length < max) {
      const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, max - length));
      const bytes = await file.read(chunk, length);
      if (bytes === 0) break;
      chunks.push(chunk.subarray(0, bytes));
      length += bytes;
    }
    return Buffer.concat(chunks, length);
  } finally {
    file.release();
  }
}
