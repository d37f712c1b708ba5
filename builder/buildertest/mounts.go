package buildertest

import (
	"maps"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// mounts are what a command sees over its files: binds, caches and what is in memory. Caches are had by
// all commands at once, and secrets and agents are not there.
type mounts struct {
	s     *server
	list  []input.Mount
	binds [][]taken // of those that are binds or have a first content, by their numbers
	shown []shownMount
}

// shownMount is a mount while a command runs, and what was in its place.
type shownMount struct {
	input.Mount
	kept cacheKey // of a cache
	at   string   // without links
	was  tree
	made []string // directories that were made for it, parents first
}

// findMounts reads what mounts are of, and gives the digest of what counts of it.
func (s *server) findMounts(call *wire.Call, q protocol.Run) (*mounts, string, error) {
	list := q.Mounts
	m := &mounts{s: s, list: list, binds: make([][]taken, len(list))}
	if err := input.CheckMounts(list); err != nil {
		return nil, "", err
	}
	content := ""
	for i, one := range list {
		if one.Bind == nil || one.Cache != nil && q.Lookup {
			continue // nothing of it counts
		}
		var err error
		if m.binds[i], err = s.take(call, *one.Bind); err != nil {
			return nil, "", err
		}
		if one.IsBind() {
			content += digest(m.binds[i], one.Bind.Stream != nil && one.Bind.Stream.Foreign)
		}
	}
	return m, content, nil
}

// keyOf is what of mounts counts beside what binds show: not where that is from.
func keyOf(list []input.Mount) []input.Mount {
	var key []input.Mount
	for _, m := range list {
		if m.Bind != nil {
			m.Bind = &input.Source{}
		}
		if m.Cache != nil {
			m.Bind = nil
		}
		key = append(key, m)
	}
	return key
}

// seen are mounts as an Operation has them.
func (s *server) seen(list []input.Mount) []Mount {
	var all []Mount
	for _, m := range list {
		one := Mount{Target: m.Target, ReadOnly: m.ReadOnly, Cache: m.Cache, Tmpfs: m.Tmpfs, Secret: m.Secret, SSH: m.SSH}
		if m.Bind != nil {
			from := s.shown(*m.Bind)
			one.From = &from
		}
		all = append(all, one)
	}
	return all
}

// show puts the mounts into the files of a command.
func (m *mounts) show(to *Files) error {
	files := to.tree
	for _, i := range input.MountOrder(m.list) {
		one := shownMount{Mount: m.list[i]}
		if one.Target == "" || one.Secret != nil || one.SSH != nil {
			continue
		}
		if one.Cache != nil {
			one.kept = m.cacheOf(i)
		}
		var err error
		if one.at, err = files.resolve(one.Target, true); err != nil {
			return err
		}
		for dir := parent(one.at); dir != "" && files[dir] == nil; dir = parent(dir) {
			one.made = append([]string{dir}, one.made...)
		}
		one.was = files.below(one.at)
		files.remove(one.at)
		m.shown = append(m.shown, one)
		if kept := m.s.keptIn(one.Mount, one.kept); kept != nil {
			_, err = files.makeDirs(one.at, file{time: now()})
			maps.Copy(files, kept.moved("", one.at))
		} else if err = files.place(m.binds[i], placing{dest: "/" + one.at}); err == nil && files[one.at] == nil {
			_, err = files.makeDirs(one.at, file{time: now()})
		}
		if err != nil {
			return err
		}
		if one.ReadOnly {
			to.readOnly = append(to.readOnly, one.at)
		}
	}
	return nil
}

// hide takes the mounts out of the files again.
func (m *mounts) hide(files tree) {
	for i := len(m.shown) - 1; i >= 0; i-- {
		one := m.shown[i]
		if one.Cache != nil && !one.ReadOnly {
			m.s.keep(one.kept, files.below(one.at).moved(one.at, ""))
		}
		files.remove(one.at)
		maps.Copy(files, one.was)
		for j := len(one.made) - 1; j >= 0; j-- {
			if dir := one.made[j]; len(files.below(dir)) == 1 && files.isDir(dir) {
				files.remove(dir)
			}
		}
	}
}

// below is a file with all below it.
func (t tree) below(name string) tree {
	out := tree{}
	for other, f := range t {
		if other == name || strings.HasPrefix(other, name+"/") {
			out[other] = f
		}
	}
	return out
}

// moved is the same tree at another place.
func (t tree) moved(from, to string) tree {
	out := tree{}
	for name, f := range t {
		if rest := clean(strings.TrimPrefix(name, from)); rest != "" {
			out[clean(to+"/"+rest)] = f
		}
	}
	return out
}
