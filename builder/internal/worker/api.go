package worker

import (
	"encoding/json"
	"time"

	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// The methods of the worker and what they take and give. They cross the wire as JSON.

// Hello opens the store. It is the first call.
type Hello struct {
	Store storage.Options
	Retry retry.Policy // of pulls, pushes and downloads
	// Hosts and Resolv are the texts of /etc/hosts and /etc/resolv.conf for commands.
	Hosts, Resolv string
}

// Open starts a stage.
type Open struct {
	Stage   string // the caller's choice, unique
	From    string // an image, or "" for the empty root
	Below   *Below // of From's path; nil is this machine
	Fork    string // a stage to start from instead
	NoCache bool
	Lookup  bool   // steps are only looked up
	Build   string // of the stages with NoCache that do equal steps once
	Times   *Times
	Pull    string
	Access  storage.Access
	// Platform is that of the image; the zero value takes what the store has.
	Platform storage.Platform
}

// Times are those of the files of a stage's new layers: Limit, in seconds since 1970,
// for those that are later, or with All for everything.
type Times struct {
	Limit int64
	All   bool
}

// Opened is the base's image configuration, nil for the empty root.
type Opened struct{ Config json.RawMessage }

// CopySource is one source of a Copy.
type CopySource struct {
	Dir   string // a directory of this machine
	Stage string // or a stage
	File  int    // or, from 1, the call's file that gives a tar stream
	Tar   bool   // the stream is foreign, in any compression
	// Remote is fetched; it is nil for the others.
	Remote *Remote
	// Packed leaves an archive as it is, whatever Copy.Unpack says.
	Packed bool
	// Timed makes the times of files part of what is read: where they are of use, being
	// the server's, the commit's or the archive's.
	Timed bool

	Patterns, Ignore, Exclude []string
	Parents                   bool
	Rooted                    bool // a stage's files belong to root
	Chown, Chmod              string
}

// Copy is Copy and Add.
type Copy struct {
	Stage   string
	Dest    string // absolute
	Dir     bool   // Dest is a directory
	Unpack  bool
	Link    bool // the layer does not depend on those below
	Sources []CopySource
}

// Mkdir makes a directory unless it is there.
type Mkdir struct {
	Stage, Dir, User string
	Times            *Times `json:",omitempty"` // of what is made
}

// Run runs a command; the call's files are its standard input, output and error, or with
// a Terminal the socket on which the terminal's master is sent. With Lookup it only asks
// the cache, and needs none.
type Run struct {
	Lookup      bool
	Stage       string
	Args        []string
	Env         []string
	UncachedEnv []string
	Files       map[string]string `json:",omitempty"` // by name, in /dev/pipes
	Hostname    string            `json:",omitempty"`
	Dir, User   string
	Ephemeral   bool
	Terminal    *Terminal `json:",omitempty"`
	I386        bool      `json:",omitempty"` // the image is for this architecture
}

// Terminal is a terminal of a command's own, and its size at first.
type Terminal struct{ Rows, Columns uint16 }

// Stepped is the outcome of Copy, Mkdir and Run.
type Stepped struct {
	Cached  bool
	Changed bool   // a layer was added
	Missed  bool   // a Lookup found nothing
	Gone    bool   // the cache only remembers the layer
	Layer   string // the stage's uppermost now
}

// Commit writes an image.
type Commit struct {
	Stage       string
	Names       []string
	Docker      bool
	Annotations map[string]string
	Created     *time.Time
	Image       json.RawMessage // the image configuration without rootfs, created and history
	History     []HistoryEntry
}

// HistoryEntry is a history entry. Created is kept when set, unless it is later than
// Commit.Created; else it is that, or the time of its layer, or of the last layer
// before it.
type HistoryEntry struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Ref names an image.
type Ref struct {
	Ref   string
	Names []string
	Force bool
	// Unnamed is that of builder.RemoveOptions.
	Unnamed bool
	Access  storage.Access
	Dest    string
	Format  string
	// Platform is that of the image to pull.
	Platform storage.Platform
}

// Removed is the outcome of a removal.
type Removed struct{ Untagged, Deleted []string }

// Info describes the store and the namespaces.
type Info struct {
	storage.Status
	Rootless       bool
	UIDMap, GIDMap string
	Kernel         string
}

// Event tells the caller of something while a call runs.
type Event struct {
	Pull    string        `json:",omitempty"` // an image that is being pulled
	Pulled  string        `json:",omitempty"` // or has been
	Failed  string        `json:",omitempty"` // why it could not be pulled
	Warning string        `json:",omitempty"`
	Took    time.Duration `json:",omitempty"`
}

// Ask asks the caller for what only the user's own process finds: the logins for
// repositories. The answer is a storage.Logins.
type Ask struct {
	AuthFile     string
	Repositories []string
}

// Kinds of wire errors.
const (
	KindNotFound  = "image-not-found"
	KindReference = "reference"
	KindRegistry  = "registry"
	KindInUse     = "in-use"
	KindNoFile    = "no-file"
	KindNoUser    = "no-user"
	KindInvalid   = "invalid"
	KindLimit     = "limit" // with a foreign.LimitError
	KindUnfit     = "unfit"
	KindUncached  = "uncached"
	KindFetch     = "fetch"
	KindExit      = "exit"
	KindHost      = "host"
	KindLayer     = "layer"
)

// RegistryDetail comes with KindRegistry.
type RegistryDetail struct{ Host, Reason string }

// LayerDetail comes with KindLayer: the layer, and the kind of the error but for that.
type LayerDetail struct{ ID, Kind string }

// ExitDetail comes with KindExit.
type ExitDetail struct {
	Code    int
	Message string // why the command could not be started; "" when it ran
}
