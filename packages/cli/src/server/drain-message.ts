/** What a worker is sent so that it drains. */
export const DRAIN = 'zerocopy:drain';
