// Package protocol declares the calls of the worker: for each method a type with what it
// takes, whose method Gives names it and says what it gives. They cross the wire as JSON.
package protocol

import (
	"encoding/json"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/machine"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/retry"
)

// Version is that of the methods. It changes with each change of them, since a Builder may
// start another program as its worker.
const Version = "29"

// Hello opens the store. It is the first call.
type Hello struct {
	Store storage.Options
	Retry retry.Policy // of pulls, pushes and downloads
	// Isolation is what will do; Refused are the probes for which the worker is no better one.
	Isolation isolation.Choice
	Refused   []machine.Probe `json:",omitempty"`
	// Hosts and Resolv are the texts of /etc/hosts and /etc/resolv.conf for commands.
	Hosts, Resolv string
	// Remember, when not "", says what the Means depend on, beside the store. They are remembered in it, for who
	// then only looks at it.
	Remember string `json:",omitempty"`
}

// Gives declares the method. Of Means it gives the level, and the probes for which that is not better.
func (Hello) Gives(isolation.Means) string { return "hello" }

// Open starts a stage. It gives the base, nothing for the empty root and for a Fork.
type Open struct {
	Stage   string       // the caller's choice, unique
	Name    string       // StageOptions.Name, for who watches
	From    *input.Image // nil is the empty root
	Fork    string       // a stage to start from instead
	NoCache bool
	Lookup  bool   // steps are only looked up
	Build   string // of the stages with NoCache that do equal steps once
	// CacheTTL is StageOptions.CacheTTL.
	CacheTTL time.Duration `json:",omitempty"`
	Times    *Times        // of the files of new layers
	// WorkdirTimes are those of the directories that Mkdir makes.
	WorkdirTimes *Times
	Push         string `json:",omitempty"` // what the stage's layers are sent by, of NewPush
	Cache        string `json:",omitempty"` // what it has from elsewhere and gives to it, of ImportCache
	Explain      bool   `json:",omitempty"` // an Event tells of each step why it was found or not
}

// Gives declares the method.
func (Open) Gives(storage.Detail) string { return "open" }

// Times are those of the files of a stage's new layers: Limit, in seconds since 1970,
// for those that are later, or with All for everything.
type Times struct {
	Limit int64
	All   bool
}

// Copy is Copy and Add.
type Copy struct {
	Stage   string
	Dest    string // absolute
	Dir     bool   // Dest is a directory
	Unpack  bool
	Link    bool           // the layer does not depend on those below
	Sources []input.Source // that name streams by the call's files
}

// Gives declares the method.
func (Copy) Gives(Stepped) string { return "copy" }

// Mkdir makes a directory unless it is there.
type Mkdir struct{ Stage, Dir, User string }

// Gives declares the method.
func (Mkdir) Gives(Stepped) string { return "mkdir" }

// Run runs a command; the call's files are its standard input, output and error, or with
// a Terminal the socket on which the terminal's master is sent, and then those of its Mounts. With
// Lookup it only asks the cache, and needs none of its own.
type Run struct {
	Lookup      bool
	Stage       string
	Args        []string
	Env         []string
	UncachedEnv []string
	Files       map[string]string `json:",omitempty"` // by name, in /dev/pipes
	Mounts      []input.Mount     `json:",omitempty"`
	Isolation   isolation.Options
	Dir, User   string
	Ephemeral   bool
	Terminal    *Terminal `json:",omitempty"`
	Arch        string    `json:",omitempty"` // GOARCH of the image
	OnError     bool      `json:",omitempty"` // when it fails, the caller is asked question.Failed
}

// Gives declares the method.
func (Run) Gives(Stepped) string { return "run" }

// StdioFiles is how many of the call's files are the command's own.
func (r Run) StdioFiles() int {
	if r.Terminal != nil {
		return 1
	}
	return 3
}

// Rerun runs a command where another has failed, as question.Failed tells; the call's files are
// those of Run. What is not said is as it was for the failed one.
type Rerun struct {
	Held      string
	Args, Env []string // Env is added
	Dir, User string
	Terminal  *Terminal `json:",omitempty"`
}

// Gives declares the method.
func (Rerun) Gives(wire.None) string { return "rerun" }

// Terminal is a terminal of a command's own, and its size at first.
type Terminal struct{ Rows, Columns uint16 }

// Stepped is the outcome of Copy, Mkdir and Run.
type Stepped struct {
	Cached  bool
	Changed bool   // a layer was added
	Missed  bool   // a Lookup found nothing
	Gone    bool   // the cache only remembers the layer, and it cannot be had from elsewhere
	Layer   string // the stage's uppermost now
}

// CheckCommand asks what keeps a stage's command from running; it gives sentences.
type CheckCommand struct {
	Stage     string
	Args, Env []string
	Dir       string
	Volumes   []string
	Arch      string // GOARCH of the image
}

// Gives declares the method.
func (CheckCommand) Gives([]string) string { return "checkcommand" }

// Commit writes an image. Created of an entry of the history is kept when set, unless it is
// later than Commit.Created; else it is that, or the time of the entry's layer, or of the
// last layer before it.
type Commit struct {
	Stage       string
	Images      []imageindex.Member `json:",omitempty"` // of an index to write instead
	Edit        *imageindex.Edit    `json:",omitempty"` // of an index to change instead, the first of Names
	Access      registry.Access     // to images of an index that stay in a registry
	Names       []string
	Docker      bool
	Annotations map[string]string
	Created     *time.Time
	Image       json.RawMessage // the image configuration without rootfs, created and history
	History     []imgspec.History
	Squash      string // as CommitOptions.Squash
	Base        int    // how many entries of History are the base's
	Inline      string `json:",omitempty"` // a cache whose records go into the configuration, of ImportCache
}

// Gives declares the method.
func (Commit) Gives(storage.Image) string { return "commit" }

// ReadFile reads the first Max bytes of a file of an input.
type ReadFile struct {
	From input.Source
	Name string
	Max  int
}

// Gives declares the method.
func (ReadFile) Gives([]byte) string { return "readfile" }

// LatestTime is when the regular file of a stage that changed last did so.
type LatestTime struct{ Stage string }

// Gives declares the method.
func (LatestTime) Gives(time.Time) string { return "latesttime" }

// CloseStage forgets a stage.
type CloseStage struct{ Stage string }

// Gives declares the method.
func (CloseStage) Gives(wire.None) string { return "close" }

// Event tells the caller of something while a call runs.
type Event struct {
	Pull    string          `json:",omitempty"` // an image that is being pulled
	Pulled  string          `json:",omitempty"` // or has been
	Failed  *wire.Error     `json:",omitempty"` // why it could not be pulled
	Warning string          `json:",omitempty"`
	Took    time.Duration   `json:",omitempty"`
	Moved   *registry.Moved `json:",omitempty"` // how far a blob has come
	// Explained tells why a step was found or not, before it is done.
	Explained *explain.Step `json:",omitempty"`
}
