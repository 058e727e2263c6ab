/** What goes wrong with a mapping that exists. */

/** Its `code` is one of ERR_MAPPING_CLOSED, ERR_FILE_TRUNCATED, ERR_STORE_LOST, EIO, ERR_INVALID_STATE. */
export class MappingError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** ERR_MAPPING_CLOSED. */
export const closedError = (): MappingError => new MappingError('ERR_MAPPING_CLOSED', 'the mapping is closed');

/** ERR_FILE_TRUNCATED: another process has cut the file short. */
export const truncatedError = (): MappingError =>
  new MappingError('ERR_FILE_TRUNCATED', 'the file was truncated under its mapping: missing bytes read as zeros');
