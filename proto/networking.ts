/** What agents register about the networks of their hosts, beside `ecs.capability.task-eni`. */

/** The network interfaces of the host that a subnet can hang on, `eth0,eth1`. */
export const networkInterfacesAttribute = 'gantry.network-interfaces'

/** How many tasks with an address of their own the host takes at most. */
export const taskEniMaxAttribute = 'gantry.task-eni-max'
