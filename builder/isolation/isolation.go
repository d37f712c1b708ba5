// Package isolation says how a command is kept apart from the machine: what it sees of its network
// and devices, what it may do, and how much it may use. The zero Options are those of a build that
// asks for nothing: a private network where the machine can give one, Docker's default
// capabilities and system-call filter, and the limits of the program's own process.
package isolation

// Options are how one command is kept apart. All of them count in the step's key in the layer cache
// but for Sandbox, Limits, and of Network what only helps to reach the same servers (DNS).
type Options struct {
	// Sandbox is what runs the command.
	Sandbox  Sandbox
	Network  Network
	Security Security
	Limits   Limits
	// Devices are those of the machine that the command may use beside the usual ones:
	// PATH[:PATH-IN-THE-COMMAND[:PERMISSIONS]], as docker run --device takes them (ParseDevice).
	Devices []string
	// Groups are further groups of the command's user, by name in the stage's /etc/group or by number.
	Groups []string
}

// Sandbox names what runs a command.
type Sandbox string

// The sandboxes. Which of them a program has depends on how it was built.
const (
	Default Sandbox = ""       // the program's own choice: Thread
	Thread  Sandbox = "thread" // oakum's own
	OCI     Sandbox = "oci"    // libcontainer's, the code of runc
)

// Network is what a command sees of the network.
type Network struct {
	Mode Mode
	// Hosts are further lines of /etc/hosts, NAME:ADDRESS, where the address may be
	// HostGateway: one by which the machine is reached.
	Hosts []string
	// NoHosts leaves the stage's own /etc/hosts as it is.
	NoHosts bool
	// DNS, Search and Options are what /etc/resolv.conf says instead of what the machine's does.
	DNS, Search, Options []string
	// Hostname is the name of the machine as the command sees it; "" is the same in every build.
	Hostname string
}

// HostGateway as an address in Network.Hosts is one by which the machine itself is reached.
const HostGateway = "host-gateway"

// Mode is which network a command has.
type Mode string

// The networks.
const (
	// DefaultNetwork is Private where this machine can give it, and else Host, with one event of kind
	// event.Warning that says why.
	DefaultNetwork Mode = ""
	// Private is a network namespace of the command's own, connected through pasta or slirp4netns: the
	// machine's loopback services and abstract sockets are out of its reach.
	Private Mode = "private"
	// Host is the machine's.
	Host Mode = "host"
	// None is a network namespace with nothing but a loopback device.
	None Mode = "none"
)

// Security is what a command may do.
type Security struct {
	// Insecure gives the command all capabilities that the worker has, no system-call filter, and
	// /proc, /sys and /dev as they are (Dockerfile reference, RUN --security=insecure).
	Insecure bool
	// Add and Drop change Docker's default capabilities: names with or without CAP_, in any case,
	// or ALL. Drop counts more, but of ALL, which leaves what Add names. Of those that Add names, each
	// must be had by oakum itself.
	Add, Drop []string
	// Seccomp is the text of a system-call filter in Docker's JSON, or Unconfined; "" is Docker's
	// default.
	Seccomp string
	// NoNewPrivileges keeps set-user-ID programs and file capabilities from giving more rights.
	NoNewPrivileges bool
	// Mask are further paths that are hidden. Unmask are those, of the paths that are hidden or
	// read-only in each command, that are not in this one: patterns of path.Match, or All.
	Mask, Unmask []string
	// AppArmor is the name of a profile, or Unconfined, and Label are options of an SELinux label
	// (disable, user:, role:, type:, level:). On a machine that has the one or the other not, a name
	// is an error, and Unconfined and disable say what is so.
	AppArmor string
	Label    []string
}

// Words that stand for others.
const (
	Unconfined = "unconfined" // as a Seccomp filter or AppArmor profile: none
	All        = "ALL"        // in Unmask: all paths
)

// Limits are how much a command may use. The zero value limits nothing beyond what limits the worker.
// What a control group limits (memory, swap, processor time) needs one of cgroup v2 that is delegated to
// the user; where it cannot be had, the command is not run. To make it, the program's own process moves
// into a group beside it, oakum-programs, unless CgroupParent says where else it is to be made.
type Limits struct {
	// Ulimits are resource limits (getrlimit(2)).
	Ulimits []Ulimit
	// ShmSize is the size of /dev/shm in bytes; 0 is 64 MiB.
	ShmSize int64
	// CgroupParent is the control group below which the command's own is made, by its path in the
	// hierarchy. It is made, and removed again, if it is not there.
	CgroupParent string
	// Memory and MemorySwap, the sum of memory and swap, are in bytes; a MemorySwap of -1 is no limit,
	// and 0, as in Docker, is twice the Memory.
	Memory, MemorySwap int64
	// CPUShares is the relative weight, 1024 by default; of each CPUPeriod, in microseconds, CPUQuota may be used.
	CPUShares, CPUPeriod, CPUQuota int64
	// CPUs and Memories are the processors and memory nodes, as 0-3,5.
	CPUs, Memories string
}

// Ulimit is a resource limit by its name, such as nofile; -1 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}
