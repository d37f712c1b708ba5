//go:build linux

package builder_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// An image that was built here is pulled back from an archive, and is a base as such.
func TestStageFromArchive(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	s.Configure("", func(c *builder.Config) { c.Env = []string{"FROM=archive"} })
	img, err := s.Commit(t.Context(), "localhost/built", builder.CommitOptions{})
	ok(t, err)
	for _, transport := range []string{"oci-archive", "docker-archive", "oci", "dir"} {
		ref := transport + ":" + filepath.Join(t.TempDir(), "image")
		_, err := b.Push(t.Context(), "localhost/built", ref, builder.PushOptions{})
		ok(t, err)
		if transport == "docker-archive" { // in its own format it is another image
			_, err := b.Pull(t.Context(), ref, builder.PullOptions{})
			ok(t, err)
		} else {
			pulled, err := b.Pull(t.Context(), ref, builder.PullOptions{})
			ok(t, err)
			if transport != "dir" { // which has no place for the configuration's format
				equal(t, pulled.ID, img.ID)
			}
		}
		for range 2 {
			child := stage(t, b, ref, builder.StageOptions{})
			equal(t, child.Config().Env[0], "FROM=archive")
			equal(t, sh(t, child, "echo $FROM"), "archive\n")
		}
	}
	_, err = b.Stage(t.Context(), "oci-archive:"+filepath.Join(t.TempDir(), "none"), builder.StageOptions{})
	is(t, err, builder.ErrImageNotFound)
	// The store itself, and a daemon.
	stage(t, b, "containers-storage:localhost/built", builder.StageOptions{Pull: "always"})
	_, err = b.Stage(t.Context(), "containers-storage:localhost/none", builder.StageOptions{})
	is(t, err, builder.ErrImageNotFound)
	_, err = b.Stage(t.Context(), "docker-daemon:busybox:latest", builder.StageOptions{})
	is(t, err, builder.ErrReference)
	// An image that is called like a transport is one.
	_, err = s.Commit(t.Context(), "docker.io/library/docker:dind", builder.CommitOptions{})
	ok(t, err)
	stage(t, b, "docker:dind", builder.StageOptions{Pull: "never"})
}

// What an archive or layout calls its image is its maker's choice: a build from it takes no
// name in the store, by which a later build would find it, nor answers for a digest of that
// name. Pull, which a user asks for, takes it.
func TestArchiveTakesNoName(t *testing.T) {
	t.Parallel()
	const name = "docker.io/library/victim:latest"
	b := open(t)
	s := base(t, b)
	s.Configure("", func(c *builder.Config) { c.Env = []string{"FROM=archive"} })
	_, err := s.Commit(t.Context(), name, builder.CommitOptions{})
	ok(t, err)
	dir := t.TempDir()
	for _, to := range []string{"oci-archive:" + dir + "/oci.tar:" + name, "docker-archive:" + dir + "/docker.tar:" + name, "oci:" + dir + "/layout:" + name, "dir:" + dir + "/dir"} {
		_, err := b.Push(t.Context(), name, to, asIs)
		ok(t, err)
	}
	// Containerd's annotation is not a name either.
	index, err := os.ReadFile(dir + "/layout/index.json")
	ok(t, err)
	index = []byte(strings.ReplaceAll(string(index), `"org.opencontainers.image.ref.name"`, `"io.containerd.image.name":"`+name+`","org.opencontainers.image.ref.name"`))
	ok(t, os.WriteFile(dir+"/layout/index.json", index, 0o644))

	for ref, named := range map[string]bool{
		"oci-archive:" + dir + "/oci.tar": true, "oci-archive:" + dir + "/oci.tar:" + name: true,
		"docker-archive:" + dir + "/docker.tar": true, "docker-archive:" + dir + "/docker.tar:" + name: true, "docker-archive:" + dir + "/docker.tar:@0": true,
		"oci:" + dir + "/layout": true, "oci:" + dir + "/layout:" + name: true, "dir:" + dir + "/dir": false,
	} {
		fresh := open(t)
		for _, platform := range []string{"", "linux/" + runtime.GOARCH} {
			child := stage(t, fresh, ref, builder.StageOptions{Platform: platform})
			equal(t, child.Config().Env[0], "FROM=archive")
		}
		images, err := fresh.Images(t.Context())
		ok(t, err)
		for _, img := range images {
			equal(t, strings.Join(img.Names, " "), "")
			_, err = fresh.Stage(t.Context(), "docker.io/library/victim@"+img.Digest.String(), builder.StageOptions{Pull: "never"})
			is(t, err, builder.ErrImageNotFound)
		}
		_, err = fresh.Inspect(t.Context(), name)
		is(t, err, builder.ErrImageNotFound)

		_, err = fresh.Pull(t.Context(), ref, builder.PullOptions{})
		ok(t, err)
		if _, err = fresh.Inspect(t.Context(), name); named != (err == nil) {
			t.Errorf("after a pull of %s: %v", ref, err)
		}
	}
}
