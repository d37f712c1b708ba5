//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// Each layer that is unpacked leaves megabytes of garbage in the worker; an image of 490 took
// 1.4 GB.
func TestMemoryOfManyLayers(t *testing.T) {
	b := open(t)
	img, err := tampered(t, b, func(dir string) {
		for i := range 100 {
			var buf bytes.Buffer
			z := gzip.NewWriter(&buf)
			_, err := z.Write(tarOf(t, tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Linkname: strings.Repeat("x", i)}))
			ok(t, err)
			ok(t, z.Close())
			addPackedLayer(t, dir, buf.Bytes())
		}
	})
	ok(t, err)
	equal(t, sh(t, stage(t, b, img.ID, builder.StageOptions{}), "cat /3"), "xxx")
	workerTakes(t, 120, 480)
}

// What a pull holds does not depend on how large the layers are, nor on how many there are.
func TestMemoryOfPull(t *testing.T) {
	b := open(t)
	noise := make([]byte, 4<<20)
	_, err := tampered(t, b, func(dir string) {
		for i := range 20 {
			_, _ = rand.Read(noise)
			var buf bytes.Buffer
			z, err := gzip.NewWriterLevel(&buf, gzip.NoCompression)
			ok(t, err)
			w := tar.NewWriter(z)
			ok(t, w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(noise))}))
			_, err = w.Write(noise)
			ok(t, err)
			ok(t, w.Close())
			ok(t, z.Close())
			addPackedLayer(t, dir, buf.Bytes())
		}
	})
	ok(t, err)
	workerTakes(t, 80, 400)
}

// What a build holds does not depend on how many steps it has, though they are done faster than their layers are
// registered.
func TestMemoryOfManySteps(t *testing.T) {
	b, dir := open(t), t.TempDir()
	const steps = 200
	s := stage(t, b, builder.Scratch, builder.StageOptions{})
	for i := range steps {
		name := fmt.Sprint(i)
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
		_, err := s.Copy(t.Context(), "/", builder.Dir(dir).Select(name))
		ok(t, err)
	}
	_, err := s.Commit(t.Context(), "localhost/steps", builder.CommitOptions{})
	ok(t, err)
	workerTakes(t, 120, 480)
}

// workerTakes checks that a worker has taken at most so many MiB, with the race detector, which needs memory of its
// own, so many.
func workerTakes(t *testing.T, most, mostWithRaces int) {
	t.Helper()
	peak := workerPeak(t) >> 10
	t.Logf("at most %d MiB", peak)
	if raceDetector() {
		most = mostWithRaces
	}
	if peak > most || peak < 1 {
		t.Errorf("the worker took %d MiB", peak)
	}
}

// workerPeak is the most memory, in KiB, that a process which this one started has had.
func workerPeak(t *testing.T) int {
	t.Helper()
	status := func(pid string) map[string]string {
		data, err := os.ReadFile("/proc/" + pid + "/status")
		fields := map[string]string{}
		if err != nil {
			return fields // it has ended
		}
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(line, ":")
			fields[key] = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
		}
		return fields
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	ok(t, err)
	peak := 0
	for _, p := range processes {
		own := status(filepath.Base(p))
		for at := own; at["PPid"] != "" && at["PPid"] != "0"; at = status(at["PPid"]) {
			if at["PPid"] == strconv.Itoa(os.Getpid()) {
				if n, err := strconv.Atoi(own["VmHWM"]); err == nil {
					peak = max(peak, n)
				}
			}
		}
	}
	return peak
}

// raceDetector says whether the tests, and so the worker, are built with it.
func raceDetector() bool {
	info, found := debug.ReadBuildInfo()
	return found && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
