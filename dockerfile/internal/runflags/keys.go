package runflags

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/util/suggest"

	"github.com/oakum-build/oakum/builder/mount"
)

// mountKey is a key of RUN --mount.
type mountKey struct {
	types []Type // which have it; nil is all
	alone bool   // it may be given without a value
	set   func(m *Mount, value string) error
}

// mountSynonyms are other names of keys.
var mountSynonyms = map[string]string{
	"src": "source", "dst": "target", "destination": "target", "readonly": "ro", "readwrite": "rw",
	// What follows is Buildah's.
	"tmpfs-size": "size", "tmpfs-mode": "mode", "z": "relabel", "u": "chown",
}

// mountKeys are all keys by their first names.
var mountKeys = map[string]mountKey{
	"type":    {set: nothing},
	"target":  {set: (*Mount).setTarget},
	"from":    {types: []Type{Bind, Cache}, set: nothing},
	"source":  {types: []Type{Bind, Cache, Secret}, set: (*Mount).setSource},
	"ro":      {alone: true, set: func(m *Mount, value string) error { return m.setReadOnly(value, true) }},
	"rw":      {alone: true, set: func(m *Mount, value string) error { return m.setReadOnly(value, false) }},
	"id":      {types: []Type{Cache, Secret, SSH}, set: (*Mount).setID},
	"sharing": {types: []Type{Cache}, set: (*Mount).setSharing},
	"size":    {types: []Type{Tmpfs}, set: (*Mount).setSize},
	"required": {types: []Type{Secret, SSH}, alone: true, set: func(m *Mount, value string) (err error) {
		m.Required, err = strconv.ParseBool(value)
		return err
	}},
	"env":  {types: []Type{Secret}, set: (*Mount).setEnv},
	"mode": {types: []Type{Cache, Secret, SSH, Tmpfs}, set: (*Mount).setMode},
	"uid": {types: []Type{Cache, Secret, SSH}, set: func(m *Mount, value string) (err error) {
		m.UID, err = number(value)
		return err
	}},
	"gid": {types: []Type{Cache, Secret, SSH}, set: func(m *Mount, value string) (err error) {
		m.GID, err = number(value)
		return err
	}},
	// What follows is Buildah's. It changes nothing here, or cannot be.
	"relabel":           {types: []Type{Bind, Cache}, alone: true, set: nothing}, // files of the machine are not shown themselves
	"consistency":       {types: []Type{Bind, Cache}, set: nothing},              // of virtual machines
	"bind-nonrecursive": {types: []Type{Bind, Cache}, alone: true, set: nothing}, // nothing is mounted in what is shown
	"nosuid":            {types: []Type{Bind, Cache, Tmpfs}, alone: true, set: nothing},
	"nodev":             {types: []Type{Bind, Cache, Tmpfs}, alone: true, set: nothing},
	"notmpcopyup":       {types: []Type{Tmpfs}, alone: true, set: nothing},
	"bind-propagation":  {types: []Type{Bind, Cache}, set: private},
	"noexec":            {types: []Type{Bind, Cache, Tmpfs}, alone: true, set: never("programs can be run from each mount")},
	"chown":             {types: []Type{Bind, Cache}, alone: true, set: never("files keep their owner; give a cache uid= and gid=, or COPY --chown the files")},
	"no-dereference":    {types: []Type{Bind, Cache}, alone: true, set: never("links are followed within the source")},
	"tmpcopyup":         {types: []Type{Tmpfs}, alone: true, set: never("it is empty at first; copy the files in the command")},
}

// mountKeyNames are the keys that an error proposes.
func mountKeyNames() []string {
	return []string{"type", "target", "source", "from", "ro", "rw", "id", "sharing", "size", "required", "env", "mode", "uid", "gid"}
}

// shortest is the least length of a name that is guessed at: any two shorter ones are alike.
const shortest = 3

// didYouMean is the hint for a misspelt name, or "".
func didYouMean(name string, known []string) string {
	known = slices.DeleteFunc(slices.Clone(known), func(k string) bool { return len(k) < shortest })
	if match, _ := suggest.Search(name, known, false); match != "" && len(name) >= shortest {
		return "did you mean " + match + "?"
	}
	return ""
}

// set does what a key says.
func (m *Mount) set(f mountField) error {
	key := mountKeys[f.key]
	if key.types != nil && !slices.Contains(key.types, m.Type) {
		return fmt.Errorf("%s has no meaning for type=%s", f.written, m.Type)
	}
	if err := key.set(m, f.value); err != nil {
		var number *strconv.NumError
		if errors.As(err, &number) {
			err = number.Err
		}
		return fmt.Errorf("%s=%s: %w", f.written, f.value, err)
	}
	return nil
}

func nothing(*Mount, string) error { return nil }

// never is a key that can only be false.
func never(why string) func(*Mount, string) error {
	return func(_ *Mount, value string) error {
		if on, err := strconv.ParseBool(value); err != nil || !on {
			return err
		}
		return errors.New("this is not possible here: " + why)
	}
}

// private is what the propagation of each mount is.
func private(_ *Mount, value string) error {
	if value != "private" && value != "rprivate" {
		return errors.New("nothing that is mounted later is passed on: it can only be private or rprivate")
	}
	return nil
}

func (m *Mount) setTarget(value string) error {
	if strings.ContainsRune(value, 0) {
		return errors.New("a path has no NUL")
	}
	if m.Target = value; value != "" {
		m.Target = path.Clean(value)
	}
	return nil
}

func (m *Mount) setSource(value string) error {
	if clean := path.Clean(value); m.Type != Secret && (clean == ".." || strings.HasPrefix(clean, "../")) {
		return errors.New("it leads out of the files that are mounted")
	}
	m.Source = value
	return nil
}

// setID sets an id, which is a name and no path: caches are found by it whole.
func (m *Mount) setID(value string) error {
	if slices.Contains(strings.Split(value, "/"), "..") {
		return errors.New("an id is a name, and .. is no part of one")
	}
	m.ID = value
	return nil
}

func (m *Mount) setEnv(value string) error {
	if value == "" || strings.ContainsAny(value, "=\x00") {
		return errors.New("it is the name of a variable")
	}
	m.Env = value
	return nil
}

func (m *Mount) setReadOnly(value string, ro bool) error {
	on, err := strconv.ParseBool(value)
	m.ReadOnly = on == ro
	return err
}

func (m *Mount) setSharing(value string) error {
	switch value = strings.ToLower(value); value {
	case "shared":
		m.Sharing = mount.Shared
	case "locked", "private":
		m.Sharing = mount.Sharing(value)
	default:
		return errors.New("it is shared, locked or private")
	}
	return nil
}

func (m *Mount) setSize(value string) (err error) {
	if m.Size, err = units.RAMInBytes(value); err != nil || m.Size < 0 {
		return errors.New("it is a number of bytes, with k, m or g behind it for more")
	}
	return nil
}

func (m *Mount) setMode(value string) error {
	bits, err := strconv.ParseUint(value, 8, 32)
	if err != nil || bits > 0o7777 {
		return errors.New("it is not an octal mode from 0 to 7777")
	}
	m.Mode = fs.FileMode(bits & 0o777)
	for bit, is := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			m.Mode |= is
		}
	}
	return nil
}

// number is the id of a user or group; the last one of 32 bits is none.
func number(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err == nil && n == math.MaxUint32 {
		err = strconv.ErrRange
	}
	return int(n), err
}
