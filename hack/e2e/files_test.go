//go:build linux

package e2e

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/home"
)

const filesDockerfile = `FROM busybox:1.36
RUN mkdir -p /srv/d /srv/gone && echo a >/srv/a && ln -s ../a /srv/d/link && ln -s /etc /srv/abs && touch /srv/gone/f
RUN chown 1000:33 /srv/a && chmod 4750 /srv/d && mkfifo /srv/pipe && chmod 1777 /srv/gone && rm /srv/gone/f
RUN ln /srv/a /srv/d/hard && touch /srv/set && chown 5:6 /srv/set && chmod 6711 /srv/set && rm -r /home && mkdir /home && mkdir -m 700 /srv/closed && touch /srv/closed/f
`

// TestFilesLikeBuildah compares what leaves as files with what buildah writes.
func TestFilesLikeBuildah(t *testing.T) {
	h := newHome(t)
	context := h.context("files", filesDockerfile)
	out := t.TempDir()
	h.run(oakum, "build", "-q", "-o", "type=tar,dest="+out+"/oakum.tar", "-o", out+"/oakum", context)
	h.run("buildah", append(home.BuildahArgs("oci"), "-o", "type=tar,dest="+out+"/buildah.tar", context)...)
	h.run("buildah", append(home.BuildahArgs("oci"), "-o", "type=local,dest="+out+"/buildah", context)...)
	// Without set-id bits, which buildah leaves out of its tar, and BuildKit and oakum do not.
	if got, want := tarListing(t, out+"/oakum.tar"), tarListing(t, out+"/buildah.tar"); got != want {
		t.Errorf("the tar has\n%s\nthat of buildah\n%s", got, want)
	}
	// Without owners, which as root buildah keeps.
	if got, want := dirListing(t, out+"/oakum"), dirListing(t, out+"/buildah"); got != want {
		t.Errorf("the directory has\n%s\nthat of buildah\n%s", got, want)
	}
}

// tarListing has a line for each file below srv and home in a tar.
func tarListing(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "srv") || strings.HasPrefix(name, "home") {
			lines = append(lines, fmt.Sprintf("%s %c %o %d:%d %q %q", name, h.Typeflag, h.Mode&0o1777, h.Uid, h.Gid, strings.TrimPrefix(h.Linkname, "./"), content))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// dirListing has a line for each file below srv and home in a directory.
func dirListing(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	for _, top := range []string{"srv", "home"} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			target, _ := os.Readlink(path)
			rel, err := filepath.Rel(dir, path)
			lines = append(lines, fmt.Sprintf("%s %v %q", rel, info.Mode()&^(fs.ModeSetuid|fs.ModeSetgid), target))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestArchivesOfPeers exchanges archives of several images with podman, both ways.
func TestArchivesOfPeers(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "build", "-q", "-t", "localhost/one:1", "-t", "localhost/uno:1", h.context("one", "FROM busybox:1.36\nCMD one\n"))
	h.run(oakum, "build", "-q", "-t", "localhost/two:1", h.context("two", "FROM busybox:1.36\nCMD two\n"))
	names := []string{"localhost/one:1", "localhost/uno:1", "localhost/two:1"}
	ids := func() (all string) {
		for _, name := range names {
			all += h.run(oakum, "inspect", "--format", "{{.Id}}", name)
		}
		return all
	}
	want, out := ids(), t.TempDir()
	h.run(oakum, append([]string{"save", "-o", out + "/docker.tar"}, names...)...)
	h.run(oakum, append([]string{"save", "--format", "oci-archive", "-o", out + "/oci.tar"}, names...)...)
	h.run("podman", append([]string{"save", "-q", "-m", "-o", out + "/podman.tar"}, names...)...)
	h.run("podman", "save", "-q", "--format", "oci-archive", "-o", out+"/podman.oci", names[2])
	for _, file := range []string{"docker.tar", "podman.tar", "oci.tar"} {
		h.run(oakum, "rmi", "-af")
		h.run(oakum, "load", "-q", "-i", filepath.Join(out, file))
		if got := ids(); got != want {
			t.Errorf("oakum load of %s has\n%s, want\n%s", file, got, want)
		}
	}
	h.run(oakum, "rmi", "-af")
	h.run("podman", "load", "-q", "-i", out+"/docker.tar")
	if got := ids(); got != want {
		t.Errorf("podman load of docker.tar has\n%s, want\n%s", got, want)
	}
	h.run(oakum, "rmi", "-af")
	h.run(oakum, "load", "-q", "-i", out+"/podman.oci")
	h.run(oakum, "save", "--format", "oci-archive", "-o", out+"/two.oci", names[2])
	h.run("skopeo", "copy", "-q", "oci-archive:"+out+"/two.oci", "dir:"+out+"/two")
	h.run(oakum, "rmi", "-af")
	h.run("podman", "load", "-q", "-i", out+"/two.oci")
	if got := h.run(oakum, "inspect", "--format", "{{.Id}}", names[2]); !strings.HasSuffix(want, got) {
		t.Errorf("podman load of an archive of one image has %s, want the last of\n%s", got, want)
	}
}
