// How many gateways serve together where nobody says. Pure.

/**
 * A gateway has one thread that works, and a plain call costs it about as much processor time as the instance that runs it
 * (bench gateway). So with few processors a second one would only take from the instances, and share what the first has at
 * hand; from here on one gateway is what everybody waits for.
 */
const severalFromCores = 8;
/** A quarter of the processors for gateways; the others are the instances'. */
const coresForEach = 4;
/** Each has a link to every instance and to each other gateway. */
const most = 8;

export function gatewayCount(cores: number): number {
  return cores < severalFromCores ? 1 : Math.min(most, Math.floor(cores / coresForEach));
}
