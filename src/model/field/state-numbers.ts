/** libvirt's number of each state of a domain (virDomainState), as the parameter `state.state` has it. */
export const STATE_NUMBERS = {
  nostate: 0,
  running: 1,
  blocked: 2,
  paused: 3,
  shutdown: 4,
  shutoff: 5,
  crashed: 6,
  pmsuspended: 7,
} as const;
