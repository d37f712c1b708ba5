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

// A bannedCall is a function that must not be used.
type bannedCall struct {
	pkg    string   // import path
	names  []string // functions; nil is all of the package
	except []string // folders where it may be used
	reason string
}

// worker is the process that owns its own environment and directory.
const worker = "builder/internal/worker"

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
		except: []string{worker},
		reason: "the working directory and the umask belong to the whole process",
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
)

// vagueNames say nothing about what a package is for.
var vagueNames = []string{"util", "utils", "common", "helpers", "helper", "misc"}
