//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// filesystems names those that a store is likely to be on, by their magic numbers (statfs(2)).
var filesystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
}

// describe writes what the times depend on: the machine, and the versions.
func (b *bench) describe(w io.Writer) error {
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(b.dir, &disk); err != nil {
		return err
	}
	kind := filesystems[int64(disk.Type)] //nolint:unconvert // its size depends on the architecture
	if kind == "" {
		kind = fmt.Sprintf("file system %#x", disk.Type)
	}
	fmt.Fprintf(w, "%s, %d cores, Linux %s, %s; load %s\n", processor(), runtime.NumCPU(), unix.ByteSliceToString(kernel.Release[:]), kind, load())
	programs := [][]string{{b.oakum, "version"}, {"buildah", "--version"}, {"runc", "--version"}, {"crun", "--version"}}
	if b.beside != "" {
		programs = append(programs, []string{b.beside, "version"})
	}
	if b.newer != "" {
		programs = append(programs, []string{b.newer, "--version"})
	}
	if b.kit != nil {
		programs = append(programs, []string{b.kit.program("buildkitd"), "--version"})
	}
	for _, p := range programs {
		out, err := exec.CommandContext(b.ctx, p[0], p[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		line, _, _ := bytes.Cut(out, []byte("\n"))
		fmt.Fprintf(w, "%s\n", line)
	}
	return nil
}

// processor is the name of the first processor.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is that of the last minute: measurements beside other work say little.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	if err != nil {
		return "unknown"
	}
	return first
}
