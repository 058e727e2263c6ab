import '@zerocopy/conformance/faults/install';
const { wayNamed } = await import('@zerocopy/conformance/ways/index');
const { exhaust, describeFault } = await import('@zerocopy/conformance/faults/exhaustive');
const { pattern } = await import('@zerocopy/testing/bytes');
const content = pattern(300000);
for (const name of ['createMmapReadStream over a number','createMmapReadStream over a FileHandle', 'createSendfileStream over a number', 'createSpliceWriteStream over a number', 'mapFile, resized and flushed','a lease that is broken by a writer'])
for (const t of await exhaust(wayNamed(name), { content, firstCalls: 20, patience: 3000 })) if (t.complaint) console.log(name, describeFault(t.fault), t.at, t.call, t.complaint.slice(0,200), t.deliveries.map(d=>d.error?.code), t.calls.join(' '));
process.exit()
