//go:build linux

package worker

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// mappedIDs says which owners files can have in this user namespace.
func mappedIDs() (func(uid, gid int) bool, error) {
	uids, gids, err := ownIDs()
	return func(uid, gid int) bool { return uids.has(uid) && gids.has(gid) }, err
}

// checkMapped refuses a user whose ids this user namespace does not have, of whom the kernel
// would say no more than "invalid argument", and that to whatever needs them first. what
// is how the user was asked for.
func checkMapped(what string, u sandbox.User) error {
	uids, gids, err := ownIDs()
	if err != nil {
		return err
	}
	if !uids.has(u.UID) {
		return uids.lacks(what, "uid", u.UID, "/etc/subuid")
	}
	for _, gid := range append([]int{u.GID}, u.Groups...) {
		if !gids.has(gid) {
			return gids.lacks(what, "gid", gid, "/etc/subgid")
		}
	}
	return nil
}

func ownIDs() (uids, gids idMap, err error) {
	if uids, err = readIDMap("/proc/self/uid_map"); err == nil {
		gids, err = readIDMap("/proc/self/gid_map")
	}
	return uids, gids, err
}

// idMap is the ids inside that a user namespace has: first ids and counts.
type idMap [][2]int

func readIDMap(path string) (idMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m idMap
	for line := range strings.Lines(string(data)) {
		var first, outside, count int
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m = append(m, [2]int{first, count})
	}
	return m, nil
}

func (m idMap) has(id int) bool {
	return slices.ContainsFunc(m, func(r [2]int) bool { return id >= r[0] && id-r[0] < r[1] })
}

// lacks is the error of an id that is not among those of the map.
func (m idMap) lacks(what, kind string, id int, file string) error {
	var joined idMap // adjacent ranges in one
	for _, r := range m {
		if n := len(joined); n > 0 && joined[n-1][0]+joined[n-1][1] == r[0] {
			joined[n-1][1] += r[1]
		} else {
			joined = append(joined, r)
		}
	}
	var ranges []string
	for _, r := range joined {
		ranges = append(ranges, fmt.Sprintf("%d to %d", r[0], r[0]+r[1]-1))
	}
	return fmt.Errorf("%s: the %s %d is not mapped, only %s are: more subordinate ids are needed in %s", what, kind, id, strings.Join(ranges, " and "), file)
}
