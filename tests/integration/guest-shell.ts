// Where the shell listens that tests have inside a virtual machine: see fixtures/agent-with-shell.ts.
export const shellPort = 4022;
