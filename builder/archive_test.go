//go:build linux

package builder_test

import (
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// An image that was built here is pulled back from an archive, and is a base as such.
func TestStageFromArchive(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	s.Configure(func(c *builder.Config) { c.Env = []string{"FROM=archive"} })
	img, err := s.Commit(t.Context(), "localhost/built", builder.CommitOptions{})
	ok(t, err)
	for _, transport := range []string{"oci-archive", "docker-archive", "oci", "dir"} {
		ref := transport + ":" + filepath.Join(t.TempDir(), "image")
		_, err := b.Push(t.Context(), "localhost/built", ref, builder.PushOptions{})
		ok(t, err)
		if transport == "docker-archive" { // in its own format it is another image
			_, err := b.Pull(t.Context(), ref, builder.Registry{})
			ok(t, err)
		} else {
			pulled, err := b.Pull(t.Context(), ref, builder.Registry{})
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
	stage(t, b, "containers-storage:localhost/built", builder.StageOptions{Pull: builder.PullAlways})
	_, err = b.Stage(t.Context(), "containers-storage:localhost/none", builder.StageOptions{})
	is(t, err, builder.ErrImageNotFound)
	_, err = b.Stage(t.Context(), "docker-daemon:busybox:latest", builder.StageOptions{})
	is(t, err, builder.ErrReference)
	// An image that is called like a transport is one.
	_, err = s.Commit(t.Context(), "docker.io/library/docker:dind", builder.CommitOptions{})
	ok(t, err)
	stage(t, b, "docker:dind", builder.StageOptions{Pull: builder.PullNever})
}
