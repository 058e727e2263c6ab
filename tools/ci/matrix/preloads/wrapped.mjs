/** Children are started as this process was: by the script that calls the emulator. */
process.execPath = process.env.ZEROCOPY_NODE ?? process.execPath;
