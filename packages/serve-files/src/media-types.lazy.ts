/** The table of mime-types, loaded when the type of the first file is wanted. */
import mime from 'mime-types';

export const lookup: typeof mime.lookup = mime.lookup;
