//go:build linux

package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// pack writes what has changed as a layer, and gives what Layer.Notices says. The tree is as every
// reader of the layer sees it afterwards.
func (m *making) pack(to io.Writer) ([]string, error) {
	changed, err := m.root()
	if err != nil {
		return nil, err
	}
	now, err := list(m.tree.root)
	if err != nil {
		return nil, fmt.Errorf("listing the files of a workspace: %w", err)
	}
	p := &packer{making: m, at: cursor{root: m.tree.root}, tar: tar.NewWriter(to), links: map[uint64]string{}, renewed: map[state]state{}}
	defer p.at.close()
	changes, err := m.changes(now)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if err := p.write(c); err != nil {
			return nil, err
		}
	}
	now.replace(p.renewed)
	m.tree.list = now
	notices := m.leftOut.Notices()
	if changed {
		notices = append(notices, fmt.Sprintf("the owner, mode or attributes of / were changed, which images do not hold: it stays %#o of 0:0", rootMode))
	}
	return notices, p.tar.Close()
}

type packer struct {
	*making
	at    cursor
	tar   *tar.Writer
	links map[uint64]string // the first name of each file with several
	// renewed are the states of files with several names that have others by now.
	renewed map[state]state
}

// changes are those that make the list of the tree another.
func (m *making) changes(now *node) ([]change, error) {
	at := cursor{root: m.tree.root}
	defer at.close()
	var failed error
	changes := difference(m.tree.list, now, func(in string, before, after *node) bool {
		same, err := m.tree.fewerNames(in, before, after, &at)
		if failed == nil {
			failed = err
		}
		return same
	})
	return changes, failed
}

func (p *packer) write(c change) error {
	if c.kind != file {
		return p.mark(c)
	}
	if err := tarfilter.CheckName(c.at); err != nil {
		return err
	}
	dir, err := p.at.dir(path.Dir(c.at))
	if err != nil {
		return err
	}
	attrs, err := p.clean(dir, c)
	if err != nil {
		return err
	}
	h, err := p.header(dir, c)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeLink {
		for attr, value := range attrs {
			tarfilter.SetXattr(h, attr, value)
		}
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("/%s: %w", c.at, err)
	}
	if h.Typeflag == tar.TypeReg && h.Size > 0 {
		return p.content(dir, c)
	}
	return nil
}

// mark writes the entry for a removal, or for what is hidden. A removal has the time at which its
// directory was changed last.
func (p *packer) mark(c change) error {
	st := c.node.stat()
	if c.kind == opaque {
		dir, err := p.at.dir(path.Dir(c.at))
		if err == nil {
			err = p.tree.owners.Show(dir, c.node.name, &st)
		}
		return errors.Join(err, p.tar.WriteHeader(tarfilter.Opaque(c.at, &st)))
	}
	for _, t := range p.change.Times {
		if limit, err := unix.TimeToTimespec(t.Limit); err == nil && (t.All || later(st.Mtim, limit)) {
			st.Mtim = limit
		}
	}
	return p.tar.WriteHeader(tarfilter.Whiteout(c.at, &unix.Stat_t{Mtim: st.Mtim}))
}

// clean takes from a file what layers do not hold, limits its times, and gives the attributes that
// the layer keeps.
func (p *packer) clean(dir *os.File, c change) (map[string]string, error) {
	if state, done := p.renewed[c.node.state]; done {
		c.node.state = state
		return nil, nil // the attributes are with the first name
	}
	changed, attrs := false, map[string]string{}
	if kind := c.node.kind(); kind == unix.S_IFREG || kind == unix.S_IFDIR { // no other has attributes of the user's
		all, err := p.tree.owners.Xattrs(dir, c.node.name, func(attr string) bool { return tarfilter.Keeps(attr) || tarfilter.StoresOwn(attr) })
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if tarfilter.Keeps(a.Name) {
				if !strings.Contains(a.Name, "=") { // which a PAX record cannot name
					attrs[a.Name] = string(a.Value)
				}
				continue
			}
			if err := unix.Lremovexattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), c.node.name), a.Name); err != nil {
				return nil, &os.PathError{Op: "removexattr " + a.Name, Path: "/" + c.at, Err: err}
			}
			p.leftOut.Attribute(a.Name, "/"+c.at)
			changed = true
		}
	}
	limited, err := p.limit(dir, c)
	if err != nil || !changed && !limited {
		return attrs, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), c.node.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &os.PathError{Op: "stat", Path: "/" + c.at, Err: err}
	}
	was := c.node.state
	c.node.state = c.node.now(&st)
	if !c.node.isDir() && c.node.links > 1 {
		p.renewed[was] = c.node.state
	}
	return attrs, nil
}

// limit limits the times of a file, and says whether it has others now.
func (p *packer) limit(dir *os.File, c change) (bool, error) {
	to := c.node.mtim
	limited := false
	for _, t := range p.change.Times {
		limit, err := unix.TimeToTimespec(t.Limit)
		if err != nil {
			return false, err
		}
		if t.All || later(to, limit) {
			to, limited = limit, true
		}
	}
	if !limited {
		return false, nil
	}
	if err := unix.UtimesNanoAt(int(dir.Fd()), c.node.name, []unix.Timespec{to, to}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, &os.PathError{Op: "utimensat", Path: "/" + c.at, Err: err}
	}
	return true, nil
}

func (p *packer) header(dir *os.File, c change) (*tar.Header, error) {
	st := c.node.stat()
	if err := p.tree.owners.Show(dir, c.node.name, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return nil, fmt.Errorf("%w: /%s is a character device with the numbers 0 and 0, which marks files as removed; leave it out", tarfilter.ErrUnfit, c.at)
	}
	first := ""
	if !c.node.isDir() && c.node.links > 1 {
		if first = p.links[c.node.ino]; first == "" {
			p.links[c.node.ino] = c.at
		}
	}
	h := tarfilter.Header(c.at, &st, first)
	if h.Typeflag == tar.TypeSymlink {
		target := make([]byte, 4097)
		n, err := unix.Readlinkat(int(dir.Fd()), c.node.name, target)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: "/" + c.at, Err: err}
		}
		h.Linkname = string(target[:n])
	}
	return h, nil
}

func (p *packer) content(dir *os.File, c change) error {
	fd, err := unix.Openat(int(dir.Fd()), c.node.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/" + c.at, Err: err}
	}
	f := os.NewFile(uintptr(fd), c.node.name)
	defer f.Close()
	if _, err := io.CopyN(p.tar, f, c.node.size); err != nil {
		return fmt.Errorf("reading /%s: %w", c.at, err)
	}
	return nil
}

// cursor opens the directories of a tree one after the other.
type cursor struct {
	root *os.File
	open []*os.File // below the root, one in the other
	path []string   // their names
}

// dir gives the directory at a path without links, which stays open until the next one is asked for.
func (c *cursor) dir(at string) (*os.File, error) {
	var parts []string
	if at != "." {
		parts = strings.Split(at, "/")
	}
	same := 0
	for same < len(parts) && same < len(c.path) && parts[same] == c.path[same] {
		same++
	}
	c.closeTo(same)
	for _, name := range parts[same:] {
		fd, err := unix.Openat(int(c.top().Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: "/" + at, Err: err}
		}
		c.open, c.path = append(c.open, os.NewFile(uintptr(fd), name)), append(c.path, name)
	}
	return c.top(), nil
}

func (c *cursor) top() *os.File {
	if n := len(c.open); n > 0 {
		return c.open[n-1]
	}
	return c.root
}

func (c *cursor) closeTo(depth int) {
	for _, f := range c.open[depth:] {
		f.Close()
	}
	c.open, c.path = c.open[:depth], c.path[:depth]
}

func (c *cursor) close() { c.closeTo(0) }
