//go:build linux

package userns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// subidFiles list the subordinate ids of each user, a line NAME:FIRST:COUNT or
// UID:FIRST:COUNT (subuid(5)); flag is usermod's.
var subidFiles = []struct{ path, flag string }{{"/etc/subuid", "--add-subuids"}, {"/etc/subgid", "--add-subgids"}}

// idRange is a range of ids.
type idRange struct{ first, count uint32 }

func (r idRange) end() uint64 { return uint64(r.first) + uint64(r.count) }

func (r idRange) overlaps(o idRange) bool {
	return uint64(r.first) < o.end() && uint64(o.first) < r.end()
}

// subids is what a file says of one user, and of all others.
type subids struct {
	own, all []idRange
	bad      []string // the user's own lines that say nothing, with their numbers
}

// parseSubids reads the lines of a user. What is wrong with others' lines, and comments,
// does not count.
func parseSubids(text []byte, names ...string) subids {
	var s subids
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		own := false
		for _, name := range names {
			own = own || fields[0] == name
		}
		r, ok := parseRange(fields)
		switch {
		case ok && own && !overlapsAny(r, s.own):
			s.own = append(s.own, r)
		case !ok && own:
			s.bad = append(s.bad, fmt.Sprintf("line %d, %q", number, strings.TrimSpace(string(line))))
		}
		if ok {
			s.all = append(s.all, r)
		}
	}
	return s
}

func parseRange(fields []string) (idRange, bool) {
	if len(fields) != 3 {
		return idRange{}, false
	}
	first, err1 := strconv.ParseUint(fields[1], 10, 32)
	count, err2 := strconv.ParseUint(fields[2], 10, 32)
	if err1 != nil || err2 != nil || count == 0 || first+count > 1<<32-1 {
		return idRange{}, false
	}
	return idRange{uint32(first), uint32(count)}, true
}

func overlapsAny(r idRange, others []idRange) bool {
	for _, o := range others {
		if r.overlaps(o) {
			return true
		}
	}
	return false
}

// Where the ids of new ranges begin and how many there are (login.defs(5), SUB_UID_MIN
// and SUB_UID_COUNT).
const firstSubid, subidCount = 100000, 65536

// freeRange is the lowest range of the usual size that none of the given overlaps.
func freeRange(taken []idRange) idRange {
	r := idRange{firstSubid, subidCount}
	for moved := true; moved; {
		moved = false
		for _, t := range taken {
			if r.overlaps(t) && t.end()+subidCount < 1<<32 {
				r.first, moved = uint32(t.end()), true
			}
		}
	}
	return r
}

// idMaps writes the ids of a new user namespace, for the process that was made in it.
type idMaps interface{ write(pid int) error }

// mapsOf are those of a kind of worker; nil, when it has no user namespace of its own.
func mapsOf(kind Kind) (idMaps, error) {
	switch kind {
	case AllIDs, allIDsShared:
		if os.Geteuid() == 0 {
			return ownMaps()
		}
		return userMaps()
	case OneID, oneIDShared:
		return oneID(), nil
	}
	return nil, nil
}

// written are maps that this process writes itself (user_namespaces(7), "Defining user and group ID
// mappings").
type written struct {
	uids, gids string
	deny       bool // setgroups, without which who has no rights over groups may not map one
}

// oneID is the present user as root.
func oneID() written {
	one := func(id int) string { return fmt.Sprintf("0 %d 1\n", id) }
	return written{uids: one(os.Geteuid()), gids: one(os.Getegid()), deny: true}
}

// ownMaps are all ids that this process's user namespace has, as they are: for root without
// CAP_SYS_ADMIN, who may map them while it can become any of their users.
func ownMaps() (idMaps, error) {
	same := func(file string) (string, error) {
		data, err := os.ReadFile(file)
		text := ""
		for line := range strings.Lines(string(data)) {
			var first, outside, count uint32
			if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil {
				return "", fmt.Errorf("%s: %w", file, err)
			}
			text += fmt.Sprintf("%d %d %d\n", first, first, count)
		}
		return text, err
	}
	uids, err1 := same("/proc/self/uid_map")
	gids, err2 := same("/proc/self/gid_map")
	return written{uids: uids, gids: gids}, errors.Join(err1, err2)
}

func (m written) write(pid int) error {
	number, err := procfs.Number(pid)
	put := func(file, text string) {
		if err == nil {
			err = os.WriteFile(fmt.Sprintf("/proc/%d/%s", number, file), []byte(text), 0)
		}
	}
	if m.deny {
		put("setgroups", "deny")
	}
	put("uid_map", m.uids)
	put("gid_map", m.gids)
	switch {
	case err == nil:
		return nil
	case m.deny:
		return &Fault{Lack: Namespaces, Missing: "mapping the own id into a user namespace: " + err.Error(), Fix: namespaceFix(unix.EPERM, ofMachine)}
	}
	return &Fault{Lack: IDs, Missing: "running as root without CAP_SYS_ADMIN, and mapping the container's ids into a user namespace: " + err.Error(),
		Fix: "give the container CAP_SETUID, CAP_SETGID and CAP_SETFCAP, which Docker and Podman give by default"}
}

// mapped are maps that newuidmap and newgidmap write.
type mapped struct{ uids, gids []string }

// userMaps is the present user as root, and its subordinate ids from 1 on.
func userMaps() (idMaps, error) {
	u, err := user.Current()
	if err != nil {
		return nil, &Fault{
			Lack:    IDs,
			Missing: fmt.Sprintf("the user id %d has no name: there is no entry for it in /etc/passwd, and newuidmap maps subordinate ids for names only", os.Geteuid()),
			Fix:     "run as a user that is in /etc/passwd, or add this one with useradd",
		}
	}
	var found []subids
	for _, file := range subidFiles {
		text, err := os.ReadFile(file.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		found = append(found, parseSubids(text, u.Username, u.Uid))
	}
	if fault := both(missingMappers(exec.LookPath), subidFault(u.Username, found)); fault != nil {
		return nil, fault
	}
	return mapped{
		uids: mapArgs(os.Geteuid(), found[0].own),
		gids: mapArgs(os.Getegid(), found[1].own),
	}, nil
}

// subidFault says which of the files give a user nothing, and how to mend them: by a
// range that nobody has, the same in both.
func subidFault(name string, found []subids) *Fault {
	var missing, fix []string
	var taken []idRange
	for i, s := range found {
		taken = append(taken, s.all...)
		switch {
		case len(s.own) > 0:
		case len(s.bad) > 0:
			missing = append(missing, fmt.Sprintf("%s (%s, is not NAME:FIRST:COUNT)", subidFiles[i].path, strings.Join(s.bad, "; ")))
		default:
			missing = append(missing, subidFiles[i].path)
		}
	}
	if missing == nil {
		return nil
	}
	free := freeRange(taken)
	for i, s := range found {
		if len(s.own) == 0 {
			fix = append(fix, fmt.Sprintf("%s %d-%d", subidFiles[i].flag, free.first, free.end()-1))
		}
	}
	return &Fault{
		Lack:    IDs,
		Missing: fmt.Sprintf("user %s has no subordinate ids in %s", name, strings.Join(missing, " and ")),
		Fix:     "sudo usermod " + strings.Join(fix, " ") + " " + name,
	}
}

func mapArgs(self int, ranges []idRange) []string {
	args := []string{"0", strconv.Itoa(self), "1"}
	next := uint64(1)
	for _, r := range ranges {
		args = append(args, strconv.FormatUint(next, 10), strconv.FormatUint(uint64(r.first), 10), strconv.FormatUint(uint64(r.count), 10))
		next += uint64(r.count)
	}
	return args
}

func (m mapped) write(pid int) error {
	number, err := procfs.Number(pid)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var uidErr, gidErr error
	wg.Go(func() { uidErr = runMapper("newuidmap", number, m.uids) })
	wg.Go(func() { gidErr = runMapper("newgidmap", number, m.gids) })
	wg.Wait()
	return errors.Join(uidErr, gidErr)
}

// missingMappers says which of the programs that write id maps are not installed.
func missingMappers(look func(string) (string, error)) *Fault {
	var missing []string
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if _, err := look(name); err != nil {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		missing = append(missing, "is")
	default:
		missing = []string{missing[0], "and", missing[1], "are"}
	}
	return &Fault{Lack: IDs, Missing: strings.Join(missing, " ") + " not installed", Fix: "apt-get install uidmap (or your distribution's package of it)"}
}

// both is one fault of two, either of which may be nil.
func both(a, b *Fault) *Fault {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &Fault{Lack: a.Lack, Missing: a.Missing + "; " + b.Missing, Fix: a.Fix + "; " + b.Fix}
}

func runMapper(name string, number int, args []string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return &Fault{Lack: IDs, Missing: name + " is not installed", Fix: "apt-get install uidmap (or your distribution's package of it)"}
	}
	out, err := exec.Command(path, append([]string{strconv.Itoa(number)}, args...)...).CombinedOutput()
	if err != nil {
		return &Fault{
			Lack:    IDs,
			Missing: fmt.Sprintf("%s: %v: %s", name, err, strings.TrimSpace(string(out))),
			Fix:     mapperFix(path),
		}
	}
	return nil
}

// mapperFix is what may keep newuidmap or newgidmap from its rights.
func mapperFix(path string) string {
	if nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && nnp == 1 {
		return "no_new_privs is set, under which no program gets more rights: run oakum without it (docker and podman run without " +
			"--security-opt=no-new-privileges, Kubernetes with allowPrivilegeEscalation: true, systemd with NoNewPrivileges=no)"
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err == nil && fsys.Flags&unix.ST_NOSUID != 0 {
		return path + " is on a file system that is mounted nosuid: mount that without nosuid"
	}
	info, err := os.Stat(path)
	_, capErr := unix.Getxattr(path, "security.capability", nil)
	if err == nil && info.Mode()&os.ModeSetuid == 0 && capErr != nil {
		return "sudo chmod u+s " + path
	}
	return "check that " + path + " belongs to root, and that /etc/subuid and /etc/subgid give your user these ids; inside a container these must be ids that it has itself"
}
