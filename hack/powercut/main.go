//go:build linux

// Command powercut cuts the power while images are built, and looks what is left of the store. It builds
// images into a store on a disk that keeps all writes and flushes in their order, makes the disks that power cuts at
// random moments could have left, and opens the stores on them, with Podman and with oakum. It is
// run by hack/powercut/run, as root.
//
// What must hold (docs/decisions/0027-syncs.md): the store opens, an image that was made long before is whole, and
// once oakum has built something in it, so is every image that Podman lists there.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

var kinds = map[string]struct{ mkfs, options []string }{
	"ext4":       {[]string{"mkfs.ext4", "-q", "-F"}, nil},
	"ext4-plain": {[]string{"mkfs.ext4", "-q", "-F"}, []string{"noauto_da_alloc"}}, // files that are renamed are not written out before
	"xfs":        {[]string{"mkfs.xfs", "-q", "-f"}, nil},
	"btrfs":      {[]string{"mkfs.btrfs", "-q", "-f"}, nil},
}

func main() {
	var (
		oakum   = flag.String("oakum", "bin/oakum", "the program that builds")
		check   = flag.String("check", "", "the program that opens the stores afterwards, if it is another one")
		kind    = flag.String("fs", "ext4", "ext4, ext4-plain (noauto_da_alloc), xfs, btrfs")
		cuts    = flag.Int("cuts", 20, "how often the power is cut")
		builds  = flag.Int("builds", 5, "how many images are built")
		seed    = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and of the writes that are lost")
		scratch = flag.String("scratch", "", "a directory for files of some 100 MiB")
		sync    = flag.Bool("sync", false, "build with overlay.sync=filesystem: then all images that were reported must be there")
	)
	flag.Parse()
	fmt.Printf("%s, seed %d\n", *kind, *seed)
	if *check == "" {
		*check = *oakum
	}
	r := &run{dir: *scratch, oakum: *oakum, check: *check, sync: *sync, dice: rand.New(rand.NewPCG(*seed, 0))}
	if err := r.all(*kind, *cuts, *builds); err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
	if r.failed > 0 {
		fmt.Printf("%d of %d power cuts left a store that is not as it must be\n", r.failed, *cuts)
		os.Exit(1)
	}
}

// run is a run of the test.
type run struct {
	dir, oakum, check string
	dice              *rand.Rand
	disk              *disk
	sync              bool
	failed            int
}

func (r *run) path(name string) string { return filepath.Join(r.dir, name) }

func (r *run) all(kind string, cuts, builds int) error {
	k, ok := kinds[kind]
	if !ok {
		return fmt.Errorf("no file system %q", kind)
	}
	for _, dir := range []string{"fuse", "mnt", "context"} {
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			return err
		}
	}
	var err error
	if r.disk, err = newDisk(r.path("fuse"), r.dir, 1<<30); err != nil {
		return err
	}
	if err := command(append(k.mkfs, r.path("fuse/disk"))...); err != nil {
		return err
	}
	first, reported, err := r.work(k.options, builds)
	if err != nil {
		return err
	}
	last := r.disk.moment()
	fmt.Printf("%d writes and flushes, %d of them before the first build\n", last, first)
	for i := range cuts {
		moment := first + r.dice.IntN(last-first+1)
		if i < len(reported) {
			moment = reported[i] // a build has just said that it has an image
		}
		probability := []float64{1, 0.5, 0}[i%3]
		if err := r.disk.cut(r.path("cut"), moment, probability, r.dice); err != nil {
			return err
		}
		before := slices.DeleteFunc(slices.Clone(reported), func(at int) bool { return at > moment })
		what, err := r.look(k.options, builds, before)
		fmt.Printf("cut %d after %d events, each write since the last flush kept with a probability of %.1f: %s\n", i, moment, probability, what)
		if err != nil {
			fmt.Printf("    FAILED: %v\n", err)
			r.failed++
		}
	}
	return nil
}
