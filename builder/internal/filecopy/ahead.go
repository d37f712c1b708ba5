//go:build linux

package filecopy

import (
	"errors"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// Ahead is told what a copy makes, before that is made, in the order of a layer's tar: each directory before what is
// in it, names sorted. storage.Staging.Ahead has one, which says more.
type Ahead interface {
	// Add tells of a file by its path from the root, without a slash at the beginning: what it will be, the path of
	// the same file's first name, where a link leads, and the attributes that a layer keeps.
	Add(path string, st *unix.Stat_t, first, target string, attrs map[string]string)
	// Room is memory for content of the file that was told last, 16 KiB or more, or nil when what is told
	// is of no use. Filled says how much was put there, which is not changed any more.
	Room() []byte
	Filled(n int)
	// Going says whether what is told is still of use, and GiveUp that it is not.
	Going() bool
	GiveUp()
}

// nobody is told nothing.
type nobody struct{}

func (nobody) Add(string, *unix.Stat_t, string, string, map[string]string) {}
func (nobody) Room() []byte                                                { return nil }
func (nobody) Filled(int)                                                  {}
func (nobody) Going() bool                                                 { return false }
func (nobody) GiveUp()                                                     {}

// ahead tells the layer's stream what a copy makes, before it is made: what of it is not so is found by
// the store, which then reads the layer's files. So where this would be difficult it is left out.
type ahead struct {
	Ahead
	last  string                   // the path that was told last
	times map[string]unix.Timespec // that directories will have which files come into
}

func newAhead(to Ahead) *ahead {
	if to == nil {
		to = nobody{}
	}
	return &ahead{to, "", map[string]unix.Timespec{}}
}

// announce tells of an entry that is made next at a path below the base of the target, after the directories
// around it if need be. ino is its inode, of a regular file; first the path of the same file's first
// copy, and target where a link leads.
func (c *copier) announce(src *Tree, e *entry, below string, ino uint64, first, target string) {
	if !c.ahead.Going() {
		return
	}
	dir, err := c.announceBase()
	if err != nil {
		c.ahead.GiveUp()
		return
	}
	st := *e.st
	uid, gid := c.owner(src, e)
	st.Uid, st.Gid, st.Ino = uint32(uid), uint32(gid), ino
	if e.kind() != unix.S_IFLNK {
		st.Mode = st.Mode&unix.S_IFMT | mode(src, e)
	}
	var attrs map[string]string
	if e.kind() == unix.S_IFREG || e.kind() == unix.S_IFDIR {
		attrs = keptAttributes(e.attrs)
	}
	c.tell(path.Join(dir, below), &st, first, target, attrs)
}

func (c *copier) tell(path string, st *unix.Stat_t, first, target string, attrs map[string]string) {
	c.ahead.last = path
	c.ahead.Add(path, st, first, target, attrs)
}

// keptAttributes are those that a layer has.
func keptAttributes(attrs []owners.Xattr) map[string]string {
	if len(attrs) == 0 {
		return nil
	}
	kept := map[string]string{}
	for _, a := range attrs {
		if !strings.Contains(a.Name, "=") { // which a PAX record cannot name
			kept[a.Name] = string(a.Value)
		}
	}
	return kept
}

// announceBase gives the path of the base without links, and tells of the directories around it and of itself
// what has not been told. Which of them the layer gets is known to the file system; as a rule all, since
// something is made in the last one.
func (c *copier) announceBase() (string, error) {
	if c.real != nil {
		return *c.real, nil
	}
	real, err := Resolve(c.to.Root, c.base)
	if err != nil {
		return "", err
	}
	real = inside(real)
	c.real = &real
	for i := 0; i <= len(real) && real != ""; i++ {
		if i < len(real) && real[i] != '/' || c.ahead.told(real[:i]) {
			continue
		}
		if err := c.announceMade(real[:i], i == len(real)); err != nil {
			return "", err
		}
	}
	return real, nil
}

// told says whether a directory was told.
func (a *ahead) told(dir string) bool { return a.last == dir || strings.HasPrefix(a.last, dir+"/") }

// announceMade tells of a directory that is there. The innermost one will change with each file in it; when all
// are there it gets the time of now, see settle.
func (c *copier) announceMade(dir string, innermost bool) error {
	f, err := openIn(c.to.Root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	e := &entry{dir: f, name: ".", st: &st}
	attrs, err := e.xattrs(&Tree{})
	if err != nil {
		return err
	}
	if innermost {
		st.Mtim = unix.NsecToTimespec(time.Now().UnixNano())
		c.ahead.times[dir] = st.Mtim
	}
	c.tell(dir, &st, "", "", keptAttributes(attrs))
	return nil
}

// settle gives the directories that files came into the times that were told.
func (a *ahead) settle(to Target) {
	if !a.Going() {
		return
	}
	for dir, ts := range a.times {
		f, err := openIn(to.Root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			err = errors.Join(unix.UtimesNanoAt(int(f.Fd()), ".", []unix.Timespec{ts, ts}, 0), f.Close())
		}
		if err != nil {
			a.GiveUp() // it has another time
			return
		}
	}
}
