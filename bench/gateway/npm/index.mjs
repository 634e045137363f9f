// The function of the gateway bench, for serverless-offline: as trivial as the one that Bellows runs.
export const handler = async () => ({ ok: true });
