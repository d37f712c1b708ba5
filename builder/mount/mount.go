// Package mount says what builder.Mount can show to a command beside files of a Source: a directory
// that stays from build to build, one in memory, a secret, and an ssh agent.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// CheckTarget refuses a target, an absolute path, over which nothing can be mounted: the root, and what
// would hide from a command what it is told of itself and of the machine. What is below /dev/shm is the
// command's own. Stage.Run asks it; call it to know earlier.
func CheckTarget(target string) error {
	if target == "/" {
		return errors.New("nothing can be mounted over /; name a directory in it")
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if target == dir || strings.HasPrefix(target, dir+"/") && target != "/dev/shm" && !strings.HasPrefix(target, "/dev/shm/") {
			return fmt.Errorf("nothing can be mounted over %s, for %s shows the machine; choose another target", target, dir)
		}
	}
	return nil
}

// Cache is a directory that is kept in the store, and in no layer: what one command leaves there the
// next finds, until the store is pruned. Its content is not in the key of a step (Dockerfile
// reference, RUN --mount=type=cache).
type Cache struct {
	// ID names the directory, by any text; "" is the mount's target. A From of the mount gives its
	// first content, and names it, too: when that is another one, so is the directory.
	ID string
	// Path is the directory or file in it that is seen, which must be there; "" is all. Links lead to
	// what is in the directory.
	Path string
	// Sharing is what happens when several commands want the same directory at once.
	Sharing Sharing
	// Mode, UID and GID are those of a directory that is new; a Mode of 0 is 0755.
	Mode     fs.FileMode
	UID, GID int
}

// Sharing is what happens to several users of one Cache.
type Sharing string

// The kinds of sharing.
const (
	Shared  Sharing = ""        // all at once
	Locked  Sharing = "locked"  // one after the other
	Private Sharing = "private" // each has a directory that no other has at the time
)

// Tmpfs is an empty directory in memory, which goes with the command. A Mode of 0 is 1777, and a Size,
// in bytes, of 0 is half of the machine's memory.
type Tmpfs struct {
	Size int64
	Mode fs.FileMode
}

// Secret is a file that only this command sees, in memory, and a variable of its environment if
// Env is not "". Its content is in no layer, key, event or log.
type Secret struct {
	// Read gives the content: 500 KiB at most. It is called once for each command that is run, and not
	// for one whose step is found in the cache.
	Read func(ctx context.Context) ([]byte, error) `json:"-"`
	// ID names it, if it is not "": a command that gets another secret is another step.
	ID string
	// Env is the name of a variable with the content. Then there is a file only if the mount has a target.
	Env string
	// Mode, UID and GID are the file's; a Mode of 0 is 0400.
	Mode     fs.FileMode
	UID, GID int
}

// SSH is the socket of an agent that signs for the command (Dockerfile reference, RUN --mount=type=ssh).
// A mount without a target is at /run/buildkit/ssh_agent.N, and SSH_AUTH_SOCK names the first.
type SSH struct {
	// ID names the agent, if it is not "": a command that gets another one is another step.
	ID string
	// Socket is that of the caller's agent. Keys are files of private keys without a passphrase, of which an agent of oakum's own is made.
	Socket string
	Keys   []string
	// Mode, UID and GID are the socket's; a Mode of 0 is 0600.
	Mode     fs.FileMode
	UID, GID int
}
