//go:build linux

package sandboxtest

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/passwd"
)

// Report is what a command found in a sandbox: findings by their names, such as
// "status CapEff", "mount /proc" or "call mount". What differs from run to run without a
// reason, such as the numbers of mounts, is not in it.
type Report map[string]string

// Reports are those of root and of another user, by "root" and "user".
func Reports(t testing.TB, make New) map[string]Report {
	t.Helper()
	p := newPlace(t, make)
	reports := map[string]Report{}
	for name, u := range map[string]passwd.User{"root": root, "user": app} {
		reports[name] = p.report(t, u)
	}
	return reports
}

// report is what a user's command finds.
func (p *place) report(t testing.TB, u passwd.User) Report {
	t.Helper()
	i, err := p.sandbox.Isolation()
	ok(t, err)
	c := p.command(slices.Concat([]string{"/bin/probe", "report"}, i.Masked, i.ReadOnly, surveyed)...)
	c.Process.User = u
	r := Report{}
	r.add(t, p.output(t, c))
	c.Process.Args = append([]string{"/bin/probe", "calls"}, argumentClasses()...)
	r.add(t, p.output(t, c))
	return r
}

// surveyed are paths of which everybody should know what can be done with them.
var surveyed = []string{
	"/", "/etc/hosts", "/etc/resolv.conf", "/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/dev/pts", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
	"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches",
	"/proc/self/attr/current", "/proc/self/oom_score_adj", "/proc/1/mem", "/proc/1/environ",
	"/sys/fs/cgroup", "/sys/kernel", "/sys/power", "/sys/module", "/sys/kernel/debug", "/sys/kernel/security",
}

// add takes the probe's lines.
func (r Report) add(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		name, value, tab := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !tab {
			t.Fatalf("the probe says %q", line)
		}
		kind, key, _ := strings.Cut(name, " ")
		switch kind {
		case "status":
			if key, value, isField := strings.Cut(value, ":"); isField && slices.Contains(statusFields, key) {
				r["status "+key] = strings.Join(strings.Fields(value), " ")
			}
		case "limit":
			if name, value, isLimit := limit(value); isLimit {
				r["limit "+name] = value
			}
		case "mount":
			r.addMount(value)
		case "namespace":
			r[name] = "its own"
			if ours, err := os.Readlink("/proc/self/ns/" + key); err == nil && ours == value {
				r[name] = "the caller's"
			}
		case "access":
			if key == "/proc/locks" { // those of open files are listed everywhere, when somebody has any
				value = strings.Replace(value, "empty,", "data,", 1)
			}
			r[name] = value
		default:
			r[name] = value
		}
	}
}

// statusFields are those of /proc/self/status that say what a process may do.
var statusFields = []string{
	"Uid", "Gid", "Groups", "NStgid", "NSpid", "NSpgid", "NSsid", "Umask", "Threads", "CoreDumping", "THP_enabled", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
	"Cpus_allowed", "Mems_allowed", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
	"NoNewPrivs", "Seccomp", "Seccomp_filters", "Speculation_Store_Bypass", "SpeculationIndirectBranch",
}

// limit takes a line of /proc/self/limits apart, whose columns have fixed places.
func limit(line string) (name, value string, isLimit bool) {
	if len(line) < 26 || strings.HasPrefix(line, "Limit ") {
		return "", "", false
	}
	return strings.TrimSpace(line[:26]), strings.Join(strings.Fields(line[26:]), " "), true
}

// addMount takes a line of /proc/self/mountinfo: proc(5). The second mount over the same
// path is "mount PATH #2".
func (r Report) addMount(line string) {
	before, after, _ := strings.Cut(line, " - ")
	fields, more := strings.Fields(before), strings.Fields(after)
	if len(fields) < 6 || len(more) < 3 {
		r["mount ?"] = line
		return
	}
	propagation := "private"
	if len(fields) > 6 {
		propagation, _, _ = strings.Cut(fields[6], ":")
	}
	name := "mount " + fields[4]
	for n := 2; r[name] != ""; n++ {
		name = fmt.Sprintf("mount %s #%d", fields[4], n)
	}
	r[name] = strings.Join([]string{fields[5], propagation, more[0], more[2]}, " ")
}

// mounts are the mount points of a report, with the flags of each.
func (r Report) mounts() map[string][]string {
	out := map[string][]string{}
	for name, value := range r {
		if point, isMount := strings.CutPrefix(name, "mount "); isMount {
			flags, _, _ := strings.Cut(value, " ")
			out[point] = strings.Split(flags, ",")
		}
	}
	return out
}

// named gives the findings whose names begin with a word, without it.
func (r Report) named(kind string) map[string]string {
	out := map[string]string{}
	for name, value := range r {
		if rest, found := strings.CutPrefix(name, kind+" "); found {
			out[rest] = value
		}
	}
	return out
}

// Difference is one that is meant between two sandboxes: findings by a pattern of
// path.Match for their names, in which a star matches slashes too, and the reason.
type Difference struct{ Name, Why string }

// Compare gives the differences between the reports of two sandboxes, a line each, beside
// those that are meant. A difference that is meant and does not exist is one, too.
func Compare(one, other Report, meant []Difference) []string {
	var out []string
	met := make([]bool, len(meant))
	all := maps.Clone(one)
	maps.Copy(all, other)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, inOne := one[name]
		b, inOther := other[name]
		if inOne == inOther && a == b {
			continue
		}
		i := slices.IndexFunc(meant, func(d Difference) bool { return matches(d.Name, name) })
		if i >= 0 {
			met[i] = true
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s, %s", name, finding(a, inOne), finding(b, inOther)))
	}
	for i, d := range meant {
		if !met[i] {
			out = append(out, fmt.Sprintf("%s: no difference, where one is meant: %s", d.Name, d.Why))
		}
	}
	return out
}

func finding(value string, there bool) string {
	if !there {
		return "nothing"
	}
	return fmt.Sprintf("%q", value)
}

func matches(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x00")
	found, err := path.Match(flat.Replace(pattern), flat.Replace(name))
	return err == nil && found
}

// has says whether the caller's machine has a path. The caller sees the same /proc and /sys.
func has(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
