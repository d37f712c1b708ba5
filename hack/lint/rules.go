// Package lint holds the rules of this repository that general linters do not know:
// which layer may import which, which calls are banned and why, and how large things
// may grow. Its tests check the tree against them.
package lint

// module is this repository's module path.
const module = "github.com/oakum-build/oakum"

// A layerRule says what the packages below a folder may import.
type layerRule struct {
	folder  string
	imports []string // allowed folders of this module, besides the folder itself
	banned  []string // import path prefixes of other modules
	reason  string
}

// layerRules: imports run down only, cmd -> dockerfile -> builder -> storage.
var layerRules = []layerRule{
	{
		folder:  "cmd",
		imports: []string{"dockerfile", "builder"},
		banned:  []string{"go.podman.io/", "github.com/opencontainers/runc", "github.com/moby/buildkit"},
		reason:  "a command reaches storage, mounts and namespaces only through builder, and parsing only through dockerfile",
	},
	{
		folder:  "dockerfile",
		imports: []string{"builder"},
		banned:  []string{"go.podman.io/", "github.com/opencontainers/runc"},
		reason:  "whatever a Dockerfile can do, a Go program must be able to do through builder alone",
	},
	{
		folder:  "builder",
		imports: []string{"storage"},
		banned:  []string{"github.com/moby/buildkit", "github.com/urfave/cli"},
		reason:  "the library knows neither Dockerfiles nor flags",
	},
	{
		folder: "storage",
		banned: []string{"github.com/moby/buildkit", "github.com/opencontainers/runc", "github.com/urfave/cli"},
		reason: "storage is the lowest layer: layers, images and transports",
	},
	{
		folder:  "examples",
		imports: []string{"dockerfile", "builder"},
		banned:  []string{"go.podman.io/", "github.com/opencontainers/runc"},
		reason:  "an example shows what another module could do",
	},
}

// A seam is something that only a few folders may import or name, because all others see it
// behind an interface: which implementation it is must make no difference to them.
type seam struct {
	imports []string // import path prefixes
	texts   []string // in string literals
	within  []string // folders
	reason  string
}

// seams do not hold for tests.
var seams = []seam{
	{
		imports: []string{"github.com/opencontainers/runc", "github.com/opencontainers/cgroups", "github.com/moby/profiles"},
		within:  []string{"builder/internal/sandbox", "builder/internal/rights", "builder/internal/runinit", "hack/bench", "hack/environments"},
		reason:  "how commands are isolated is known behind the contract of package sandbox alone",
	},
	{
		imports: []string{module + "/builder/internal/sandbox/"},
		within:  []string{"builder/internal/sandbox", worker, "builder/oci"},
		reason:  "one place, in the worker, chooses the sandbox; the contract is package sandbox",
	},
	{
		imports: []string{module + "/builder/internal/workspace/"},
		within:  []string{"builder/internal/workspace", worker},
		reason:  "one place, in the worker, chooses the workspace; the contract is package workspace",
	}, {
		imports: []string{module + "/storage/records"},
		within:  []string{"storage", "builder/internal/step"},
		reason:  "one place makes the keys of steps and records what they gave",
	},
	{
		texts:  []string{"user.overlay.", "trusted.overlay.", "lowerdir=", "userxattr"},
		within: []string{"builder/internal/workspace/overlay", "builder/internal/workspace/workspacetest", "storage", "hack"},
		reason: "what overlay keeps in attributes is known to its workspace, and to the store that packs and unpacks layers",
	},
}

// A suite is of a contract, of which each implementation, in a folder below, is tested by the call of a
// function. An implementation is what has a method of some name.
type suite struct{ call, method string }

var suites = map[string]suite{
	"builder/internal/workspace": {"workspacetest.Run", "Over"},
	"builder/internal/sandbox":   {"sandboxtest.Test", "MountPoints"},
}

// buildkitPackages are the packages of BuildKit that may be imported; any other
// brings gRPC and some forty modules along.
var buildkitPackages = []string{
	"github.com/moby/buildkit/frontend/dockerfile/command",
	"github.com/moby/buildkit/frontend/dockerfile/instructions",
	"github.com/moby/buildkit/frontend/dockerfile/linter",
	"github.com/moby/buildkit/frontend/dockerfile/parser",
	"github.com/moby/buildkit/frontend/dockerfile/shell",
	"github.com/moby/buildkit/util/suggest", // the parser itself uses it
}

// unlinked are packages of which none may come into a program, however far below.
var unlinked = []struct {
	packages []string
	signed   bool // but for the command with its tags, which checks signatures
	tagged   bool // only there, for a tag leaves it out
	reason   string
}{
	{
		packages: []string{"go.podman.io/image/v5/signature", "github.com/ProtonMail/go-crypto/openpgp", "github.com/sigstore/sigstore/pkg/signature", "github.com/sigstore/fulcio/pkg/certificate"},
		signed:   true,
		reason:   "signatures are checked by programs that import builder/signatures, which needs a tag",
	},
	{
		packages: []string{"github.com/proglottis/gpgme"},
		reason:   "it needs cgo and a C library",
	},
	{
		packages: []string{"go.podman.io/image/v5/copy", "go.podman.io/image/v5/transports/alltransports"},
		reason:   "it links all that images can be signed with, kept in and shown by: storage/internal/transfer copies images, and storage knows the transports",
	},
	{
		packages: []string{"go.podman.io/image/v5/pkg/blobinfocache", "go.podman.io/image/v5/pkg/blobinfocache/sqlite", "github.com/mattn/go-sqlite3"},
		reason:   "oakum's own records say where blobs are",
	},
	{
		packages: []string{"github.com/mattn/go-runewidth", "github.com/vbauerster/mpb/v8"},
		reason:   "it fills tables when a program starts, and oakum shows its own progress",
	},
	{
		packages: []string{"go.podman.io/image/v5/docker/daemon", "github.com/moby/moby/client", "go.podman.io/image/v5/openshift", "go.podman.io/image/v5/sif", "github.com/sylabs/sif/v2/pkg/sif"},
		reason:   "images neither come from daemons, clusters and SIF files nor go to them",
	},
	{
		packages: []string{"github.com/checkpoint-restore/go-criu/v8", "github.com/checkpoint-restore/go-criu/v8/rpc"},
		reason:   "no container is kept and restored: the tag runc_nocriu leaves it out",
	},
	{
		packages: []string{"github.com/cpuguy83/go-md2man/v2/md2man", "github.com/russross/blackfriday/v2"},
		tagged:   true,
		reason:   "it compiles patterns when a program starts, and help.go writes the help: the tag urfave_cli_no_docs leaves it out",
	},
	{
		packages: []string{"google.golang.org/grpc", "go.opentelemetry.io/otel"},
		reason:   "nothing here calls a service that needs it",
	},
}

// A bannedCall is a function that must not be used.
type bannedCall struct {
	pkg    string   // import path
	names  []string // functions; nil is all of the package
	except []string // folders where it may be used
	reason string
}

// worker is the process that owns its own environment and directory.
const worker = "builder/internal/worker"

// overlay changes the directory of a thread of its own.
const overlay = "builder/internal/workspace/overlay"

// oci asks libcontainer on a thread of its own for what wants a working directory.
const oci = "builder/internal/sandbox/oci"

// threads are taken out of the process's directory for good.
const threads = "builder/internal/sandbox/thread"

// bannedCalls do not hold for tests.
var bannedCalls = []bannedCall{
	{
		pkg:    "go.podman.io/storage/pkg/archive",
		names:  []string{"Unpack", "Untar", "UntarPath", "UnpackLayer", "ApplyLayer", "ApplyUncompressedLayer"},
		reason: "outside a chroot these follow links that the archive itself planted; unpack into an os.Root or through the store",
	},
	{
		pkg:    "os",
		names:  []string{"Chdir"},
		except: []string{worker},
		reason: "the working directory belongs to the whole process: two builds in one program would disturb each other",
	},
	{
		pkg:    "golang.org/x/sys/unix",
		names:  []string{"Chdir", "Fchdir", "Umask"},
		except: []string{worker, overlay, threads, oci},
		reason: "the working directory and the umask belong to the whole process",
	},
	{
		pkg:    "golang.org/x/sys/unix",
		names:  []string{"Openat2"},
		except: []string{"storage/openat2"},
		reason: "it gives up when anything is renamed on the machine: openat2.Open tries again",
	},
	{
		pkg:    "syscall",
		names:  []string{"Chdir", "Fchdir", "Umask"},
		except: []string{worker},
		reason: "the working directory and the umask belong to the whole process",
	},
	{
		pkg:    "os",
		names:  []string{"Setenv", "Unsetenv", "Clearenv"},
		except: []string{worker},
		reason: "the environment belongs to the whole process, and to the embedding program",
	},
	{
		pkg:    "os",
		names:  []string{"Exit"},
		except: []string{worker, "cmd", "hack", "examples"},
		reason: "only a command may end the process; a library returns an error",
	},
	{
		pkg:    "log",
		except: []string{"cmd", "hack", "examples"},
		reason: "the library has no global logger: take Options.Logger or return an error",
	},
	{
		pkg:    "flag",
		except: []string{"hack"},
		reason: "the library reads no flags",
	},
	{
		pkg:    "fmt",
		names:  []string{"Print", "Printf", "Println"},
		except: []string{"hack", "examples"},
		reason: "the library prints nothing, and a command writes to the streams it was given",
	},
	{
		pkg:    "os/signal",
		except: []string{worker, "cmd", "hack"},
		reason: "signal handlers belong to the program, not to a library",
	},
}

// Limits of size; a test file may be longer.
const (
	maxFunctionLines = 60
	maxFileLines     = 500
	maxDirectModules = 25
	maxExportedNames = 29
	maxFields        = 15
)

// exportedNames are limits of single packages instead of maxExportedNames.
var exportedNames = map[string]int{
	"builder":    45, // the whole of a Dockerfile's primitives, and the errors to branch on
	"dockerfile": 32, // a build, its options by subject, its events, and what is said of a file without building it
}

// vagueNames say nothing about what a package is for.
var vagueNames = []string{"util", "utils", "common", "helpers", "helper", "misc"}
