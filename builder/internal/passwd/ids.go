//go:build linux

package passwd

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// IDMap is the ids that a user namespace has inside.
type IDMap []IDRange

// IDRange is Count ids from First on.
type IDRange struct{ First, Count int64 }

// OwnIDs are the ids of this process's user namespace.
func OwnIDs() (uids, gids IDMap, err error) {
	if uids, err = readIDMap("/proc/self/uid_map"); err == nil {
		gids, err = readIDMap("/proc/self/gid_map")
	}
	return uids, gids, err
}

func readIDMap(path string) (IDMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m IDMap
	for line := range strings.Lines(string(data)) {
		var r IDRange
		var outside int64
		if _, err := fmt.Sscan(line, &r.First, &outside, &r.Count); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m = append(m, r)
	}
	return m, nil
}

// All says that these are all ids that there can be, as in the machine's own namespace.
func (m IDMap) All() bool {
	return slices.ContainsFunc(m, func(r IDRange) bool { return r.Count == 1<<32-1 })
}

// Has says whether an id is among them.
func (m IDMap) Has(id int) bool {
	return slices.ContainsFunc(m, func(r IDRange) bool { return int64(id) >= r.First && int64(id)-r.First < r.Count })
}

// Mapped says which owners files can have in this process's user namespace.
func Mapped() (func(uid, gid int) bool, error) {
	uids, gids, err := OwnIDs()
	return func(uid, gid int) bool { return uids.Has(uid) && gids.Has(gid) }, err
}

// CheckMapped refuses a user whose ids this process's user namespace does not have. The
// kernel would say no more of them than "invalid argument", and that to whatever needs them
// first. what is how the user was asked for.
func CheckMapped(what string, u User) error {
	uids, gids, err := OwnIDs()
	if err != nil {
		return err
	}
	if !uids.Has(u.UID) {
		return uids.lacks(what, "uid", u.UID, "/etc/subuid")
	}
	for _, gid := range append([]int{u.GID}, u.Groups...) {
		if !gids.Has(gid) {
			return gids.lacks(what, "gid", gid, "/etc/subgid")
		}
	}
	return nil
}

// lacks is the error of an id that is not among those of the map.
func (m IDMap) lacks(what, kind string, id int, file string) error {
	var joined IDMap // adjacent ranges in one
	for _, r := range m {
		if n := len(joined); n > 0 && joined[n-1].First+joined[n-1].Count == r.First {
			joined[n-1].Count += r.Count
		} else {
			joined = append(joined, r)
		}
	}
	var ranges []string
	for _, r := range joined {
		ranges = append(ranges, fmt.Sprintf("%d to %d", r.First, r.First+r.Count-1))
	}
	return fmt.Errorf("%s: the %s %d is not mapped, only %s are: more subordinate ids are needed in %s", what, kind, id, strings.Join(ranges, " and "), file)
}
