package main

import (
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/isolation"
)

func limitFlags() []cli.Flag {
	const cgroups = "; needs a control group (cgroup v2) that is delegated to the user"
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "ulimit", Usage: "`NAME=SOFT[:HARD]` limit a resource of each process of a command, such as nofile=1024:4096; -1 is no limit, and host leaves all as they are; repeatable"},
		&cli.StringFlag{Name: "shm-size", Usage: "let /dev/shm hold `SIZE`, a number with b, k, m or g behind it (default: 64m)"},
		&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "let a command use `SIZE` of memory" + cgroups},
		&cli.StringFlag{Name: "memory-swap", Usage: "let it use `SIZE` of memory and swap together; -1 is no limit"},
		&cli.StringFlag{Name: "cpus", Usage: "let it use `N` processors, such as 1.5"},
		&cli.StringFlag{Name: "cpu-shares", Aliases: []string{"c"}, Usage: "give it the weight `N` beside others, which have 1024"},
		&cli.StringFlag{Name: "cpu-period", Usage: "limit its processor time in periods of `N` microseconds (default: 100000)"},
		&cli.StringFlag{Name: "cpu-quota", Usage: "let it use `N` microseconds of each period; -1 is no limit"},
		&cli.StringFlag{Name: "cpuset-cpus", Usage: "let it use the processors `LIST`, such as 0-3,5"},
		&cli.StringFlag{Name: "cpuset-mems", Usage: "let it use the memory nodes `LIST`"},
		&cli.StringFlag{Name: "cgroup-parent", Usage: "make its control group below `GROUP`"},
	}
}

// readLimits reads limitFlags.
func readLimits(c *cli.Context) (l isolation.Limits, err error) {
	for _, text := range listed(c, "ulimit") {
		if text == "host" {
			continue
		}
		limit, err := parseUlimit(text)
		if err != nil {
			return l, err
		}
		l.Ulimits = append(l.Ulimits, limit)
		if err := l.Check(); err != nil {
			return l, unfit("ulimit", text, err)
		}
	}
	for _, f := range []struct {
		flag  string
		to    *int64
		parse func(flag, text string) (int64, error)
		none  bool // -1 asks for nothing
	}{
		{"shm-size", &l.ShmSize, parseSize, false},
		{"memory", &l.Memory, parseSize, true},
		{"memory-swap", &l.MemorySwap, parseSize, c.String("memory") == ""}, // after memory, which it must not be less than
		{"cpu-shares", &l.CPUShares, parseNumber, false},
		{"cpu-period", &l.CPUPeriod, parseNumber, false},
		{"cpu-quota", &l.CPUQuota, parseNumber, true},
	} {
		text := c.String(f.flag)
		if text == "" || text == "-1" && f.none { // the variable of a script may be empty
			continue
		}
		if *f.to, err = f.parse(f.flag, text); err != nil {
			return l, err
		}
		if err := l.Check(); err != nil {
			return l, unfit(f.flag, text, err)
		}
	}
	for flag, to := range map[string]*string{"cpuset-cpus": &l.CPUs, "cpuset-mems": &l.Memories, "cgroup-parent": &l.CgroupParent} {
		*to = c.String(flag)
		if err := l.Check(); err != nil {
			return l, unfit(flag, *to, err)
		}
	}
	return l, readCPUs(c, &l)
}

// readCPUs reads --cpus, which is a quota of each period.
func readCPUs(c *cli.Context, l *isolation.Limits) error {
	text := c.String("cpus")
	if text == "" {
		return nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != 0 && !(n >= 0.01 && n < 1_000_000) {
		return notA("cpus", text, "a number of processors from 0.01 on", "--cpus 1.5")
	}
	if n > 0 && (l.CPUPeriod != 0 || l.CPUQuota != 0) {
		return usagef("--cpus excludes --cpu-period and --cpu-quota, which say the same")
	}
	if n > 0 {
		l.CPUPeriod, l.CPUQuota = cpuPeriod, int64(n*cpuPeriod)
	}
	return nil
}

// cpuPeriod is the kernel's own, in microseconds.
const cpuPeriod = 100_000

// parseNumber reads a number.
func parseNumber(flag, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, notA(flag, text, "a number", "")
	}
	return n, nil
}

// parseSize reads a size in bytes. -1 is no limit, where there may be none.
func parseSize(flag, text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	size, err := units.RAMInBytes(text)
	if err != nil || size < 0 || size > 1<<60 {
		return 0, notA(flag, text, "a size: a number with b, k, m or g behind it", "--"+flag+" 512m")
	}
	return size, nil
}

// parseUlimit reads --ulimit NAME=SOFT[:HARD]. The shell's ulimit calls no limit unlimited.
func parseUlimit(text string) (isolation.Ulimit, error) {
	name, limit, ok := strings.Cut(text, "=")
	soft, hard, both := strings.Cut(strings.ReplaceAll(limit, "unlimited", "-1"), ":")
	if !both {
		hard = soft
	}
	u := isolation.Ulimit{Name: strings.ToLower(name)}
	if ok && u.Number() < 0 {
		err := usagef("--ulimit %q: there is no limit %q; there are %s", text, name, strings.Join(ulimits, ", "))
		err.hint = didYouMean(u.Name, ulimits)
		return u, err
	}
	var softErr, hardErr error
	u.Soft, softErr = strconv.ParseInt(soft, 10, 64)
	u.Hard, hardErr = strconv.ParseInt(hard, 10, 64)
	if softErr != nil || hardErr != nil {
		return u, notA("ulimit", text, "NAME=SOFT[:HARD] with numbers, of which -1 is no limit", "--ulimit nofile=1024:4096")
	}
	return u, nil
}

// ulimits are the names of resource limits.
var ulimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
