package builder

import (
	"log/slog"
	"time"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/push"
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
	// Worker is the path of the program that is started as the worker, or its name in PATH:
	// the command oakum, or any other that links this package, in the same version. "" is this
	// program, whose init functions then run in the worker too; so a program whose init
	// functions must not run a second time names another.
	Worker string
	// Isolation says how far commands must, and may, be kept apart from this machine.
	Isolation isolation.Choice
	// Registry is how images are pulled and pushed unless a call says otherwise.
	Registry Registry
	// Retries says how often pulls, pushes, downloads and fetches of git repositories are tried
	// again when they failed for a reason that may pass, such as a server that is busy or a
	// connection that broke: 0 is three times, a negative number never. RetryDelay is the time
	// before the first of them, doubled each time; 0 is two seconds. Each is an event of kind
	// event.Warning.
	Retries    int
	RetryDelay time.Duration
	// Events receives what happens, one event at a time and in order, from a goroutine of its
	// own. A call returns when its events were received, unless Events was busy with others just
	// then, the context of the call ends, or Close is called: a sink that hangs does not
	// hold a build up for longer than that. It may call the Builder, Close too, and
	// stages that nobody else is using at the time.
	// A panic in it is an error of the call whose event it was. After Close has returned no event
	// begins.
	Events func(event.Event)
	// Logger receives diagnostics; nil discards them.
	Logger *slog.Logger
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

// StageOptions is how a stage starts. The zero value pulls a missing base and
// uses the layer cache.
type StageOptions struct {
	// Name labels the stage's events, as Build does; it has no other meaning.
	Name string
	// Below, when not nil, is where the path of an archive or layout in from is looked up: a
	// Dir, or the Path of a stage, out of which neither it nor a link leads. The zero Source
	// has nothing. nil is this machine.
	Below *Source
	// Pull says when a base image is looked for in its registry: "" is only when it is not in the
	// store; "always", where a registry that cannot be reached is an error; "newer", when the
	// registry's differs, and one that cannot be reached is no error; "never" is the store only.
	Pull string
	// Platform, OS/ARCH[/VARIANT] or "local", is what the stage is made for. A base image
	// that has several variants is taken for it, and one in the store that is for another
	// is not used. "" takes what the store has, and pulls for this machine.
	Platform string
	// NoCache makes every step of the stage run, whatever the cache knows. Build, any text
	// but "", says which open stages make up one build: what one of them has run, an equal
	// step of another is given.
	NoCache bool
	Build   string
	// CacheTTL, when not 0, is how old a step's result may be that is found in the cache: steps whose layer was made
	// longer ago are run.
	CacheTTL time.Duration
	// Lookup makes a stage that only finds its steps in the cache: one that would have to be
	// done fails with ErrUncached. What a URL names is fetched all the same, to compare it. It also goes on by what the cache remembers of layers that
	// Prune has removed. Then nothing reads its files, and a Copy from it is found, or fails
	// with ErrUncached; so does a Fork without Lookup. It cannot be committed. Of an image of a registry that is not in
	// the store the configuration alone is read.
	Lookup bool
	// LatestTime, when not nil, is what files of new layers get that have changed later,
	// in whole seconds; with AllTimes all of them get it.
	LatestTime *time.Time
	AllTimes   bool
	// WorkdirTime, when not nil, is that of directories that Workdir makes.
	WorkdirTime *time.Time
	// Cache, when not nil, has what caches elsewhere know of steps, beside the store, and takes what the stage
	// finds and makes. A step may be found whose layer is elsewhere, and is fetched when it is needed. Where it then
	// cannot be had, the call fails with ErrUncached: a stage that is opened again does the step.
	Cache *cache.Cache
	// Explain, when not nil, is told before each step is done why it was found in the cache or not, by
	// the goroutine that does the step. To tell what has changed costs about as much as to
	// digest what the step reads once more. An event tells the same.
	Explain func(explain.Step)
	// Push, when not nil, is sent the base's layers and those that the stage's steps give, as soon as
	// they are there.
	Push *push.Push
}
