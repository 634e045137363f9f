// What comes over a connection of HTTP/2 against what it is good for: frames that nobody counts, as WINDOW_UPDATE or DATA with
// nothing but padding, take bytes that no request explains. Pure. Owns the rule; who is closed for it is sessions.ts.
import { http2Limits } from '../config.ts';

/** Of one connection, from its beginning on. */
export interface ConnectionAccount {
  readonly receivedBytes: number;
  /** Each of them may be acknowledged: what is sent in small pieces as often. So PING and SETTINGS, which are answered, count as little. */
  readonly sentBytes: number;
  readonly requests: number;
  /** Of requests' heads and bodies. */
  readonly requestBytes: number;
}

/** Whether more came than requests, answers to them and what belongs to both can explain. */
export function isFlooded({ receivedBytes, sentBytes, requests, requestBytes }: ConnectionAccount): boolean {
  const { anywayBytes, perRequestBytes, bytesPerByte } = http2Limits.unexplained;
  return receivedBytes > anywayBytes + sentBytes + requests * perRequestBytes + requestBytes * bytesPerByte;
}
