package builder

import (
	"log/slog"
	"time"
)

// Scratch is the name of the empty base: a stage from it starts without files
// and without configuration (Dockerfile reference, FROM).
const Scratch = "scratch"

// Options says where the store is and how registries are reached. The zero
// value opens the store that Podman and Buildah of the same user would open.
type Options struct {
	// Root, RunRoot, Driver and DriverOptions override storage.conf, as the
	// flags --root, --runroot, --storage-driver and --storage-opt do.
	Root          string
	RunRoot       string
	Driver        string
	DriverOptions []string
	// Registry is how images are pulled and pushed unless a call says otherwise.
	Registry Registry
	// Retry says how often pulls, pushes, downloads and fetches of git repositories are tried
	// again when they failed for a reason that may pass, such as a server that is busy or a
	// connection that broke. Each further try is an event of kind EventWarning.
	Retry Retry
	// Events receives progress, one event at a time, never after Close has
	// returned. It must not call back into the Builder.
	Events func(Event)
	// Logger receives diagnostics; nil discards them.
	Logger *slog.Logger
}

// Retry is how often and after what time something is tried again.
type Retry struct {
	Times int           // 0 is 3; a negative number is never
	Delay time.Duration // before the first time, doubled each time; 0 is two seconds
}

// Registry says how a registry is reached. The zero value follows
// registries.conf and the usual auth files, with the helpers that they name.
type Registry struct {
	AuthFile string // path of an auth.json; "" for the default search
	// Username and Password are for the registry Host, and are sent to no other. In
	// Options a Username needs a Host; in a call, "" is the registry that it names.
	Username string
	Password string
	Host     string
	CertDir  string // directory with client certificates and CAs
	// TLSVerify, when not nil, overrides registries.conf's "insecure".
	TLSVerify *bool
	// SignaturePolicy is the path of a policy.json; "" for the default search.
	SignaturePolicy string
}

// PullPolicy says when a base image is looked for in its registry.
type PullPolicy string

// The policies of buildah's --pull.
const (
	PullMissing PullPolicy = ""       // only when it is not in the store
	PullAlways  PullPolicy = "always" // always; an unreachable registry is an error
	PullNewer   PullPolicy = "newer"  // when the registry's differs; unreachable is no error
	PullNever   PullPolicy = "never"  // the store only
)

// StageOptions is how a stage starts. The zero value pulls a missing base and
// uses the layer cache.
type StageOptions struct {
	// Name labels the stage's events; it has no other meaning.
	Name string
	// Below, when not nil, is where the path of an archive or layout in from is looked up: a
	// Dir, or the Path of a stage, out of which neither it nor a link leads. The zero Source
	// has nothing. nil is this machine.
	Below *Source
	// Pull says when a base image is pulled.
	Pull PullPolicy
	// Platform, OS/ARCH[/VARIANT] or "local", is what the stage is made for. A base image
	// that has several variants is taken for it, and one in the store that is for another
	// is not used. "" takes what the store has, and pulls for this machine.
	Platform string
	// NoCache makes every step of the stage run, whatever the cache knows. Build, any text
	// but "", says which open stages make up one build: what one of them has run, an equal
	// step of another is given.
	NoCache bool
	Build   string
	// Lookup makes a stage that only finds its steps in the cache: one that would have to be
	// done fails with ErrUncached. What a URL names is fetched all the same, to compare it. It also goes on by what the cache remembers of layers that
	// Prune has removed. Then nothing reads its files, and a Copy from it is found, or fails
	// with ErrUncached; so does a Fork without Lookup. It cannot be committed.
	Lookup bool
	// LatestTime, when not nil, is what files of new layers get that have changed later,
	// in whole seconds; with AllTimes all of them get it.
	LatestTime *time.Time
	AllTimes   bool
	// WorkdirTime, when not nil, is that of directories that Workdir makes.
	WorkdirTime *time.Time
}
