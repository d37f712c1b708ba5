//go:build linux

package builder_test

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
)

// imageFiles makes a directory with an image in all forms that FROM can name.
func imageFiles(t testing.TB, b *builder.Builder) string {
	t.Helper()
	s := base(t, b)
	s.Configure("", func(c *builder.Config) { c.Env = []string{"FROM=file"} })
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	dir := filepath.Join(t.TempDir(), "a:b") // a colon ends the path of a reference
	ok(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	made := t.TempDir()
	for _, to := range []string{"oci-archive:" + made + "/oci.tar", "docker-archive:" + made + "/docker.tar", "oci:" + made + "/layout:v1", "dir:" + made + "/flat"} {
		_, err := b.Push(t.Context(), img.ID, to, asIs)
		ok(t, err)
	}
	ok(t, os.CopyFS(dir, os.DirFS(made)))
	ok(t, exec.Command("gzip", "--keep", filepath.Join(dir, "oci.tar")).Run())
	return dir
}

// Archives and layouts are found below a directory or a stage, and nowhere else.
func TestStageBelow(t *testing.T) { eachWorker(t, stageBelow) }

func stageBelow(t *testing.T, b *builder.Builder) {
	dir := imageFiles(t, b)
	ok(t, os.Symlink("../oci.tar", filepath.Join(dir, "sub/link.tar")))
	ok(t, os.Symlink("layout", filepath.Join(dir, "linked")))
	holder := scratch(t, b)
	ok(t, errOf(holder.Copy(t.Context(), "/", builder.Dir(dir))))
	nowhere, inDir, inStage := builder.Source{}, builder.Dir(dir), holder.Path()
	for _, ref := range []string{
		"oci-archive:oci.tar", "oci-archive:/oci.tar", "oci-archive:../../sub/../oci.tar", "oci-archive:sub/link.tar", "oci-archive:oci.tar.gz",
		"docker-archive:docker.tar", "docker-archive:docker.tar:@0", "oci:layout", "oci:layout:v1", "oci:layout:@0", "oci:linked:v1", "dir:flat",
	} {
		for _, below := range []builder.Source{inDir, inStage} {
			s := stage(t, b, ref, builder.StageOptions{Below: &below})
			equal(t, s.Config().Env[0], "FROM=file")
			ok(t, s.Close())
		}
		_, err := b.Stage(t.Context(), ref, builder.StageOptions{Below: &nowhere})
		is(t, err, builder.ErrInvalid)
	}
	for _, ref := range []string{"oci-archive:none", "docker-archive:none", "oci:none", "dir:none", "oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/docker.tar"} {
		_, err := b.Stage(t.Context(), ref, builder.StageOptions{Below: &inDir})
		is(t, err, builder.ErrImageNotFound)
	}
}

// A context cannot make a build read files outside of it, or wait, or fill the memory.
func TestHostileFilesBelow(t *testing.T) { eachWorker(t, hostileFilesBelow) }

func hostileFilesBelow(t *testing.T, b *builder.Builder) {
	good := imageFiles(t, b)
	outside := tree(t, map[string]string{"marker": secret})
	ok(t, exec.Command("cp", "-r", good+"/.", outside).Run()) // images, but not of the context
	before := snapshot(t, outside)
	link := func(name, target string) func(dir string) {
		return func(dir string) {
			ok(t, os.RemoveAll(filepath.Join(dir, name)))
			ok(t, os.Symlink(target, filepath.Join(dir, name)))
		}
	}
	big := func(name string) func(dir string) {
		return func(dir string) { ok(t, os.Truncate(filepath.Join(dir, name), limits.MaxJSON+1)) }
	}
	fifo := func(name string) func(dir string) {
		return func(dir string) {
			ok(t, os.RemoveAll(filepath.Join(dir, name)))
			ok(t, unix.Mkfifo(filepath.Join(dir, name), 0o600))
		}
	}
	manifest := func(dir string) string {
		l := openLayout(t, filepath.Join(dir, "layout"))
		return "layout/blobs/sha256/" + l.index.Manifests[0].Digest.Encoded()
	}
	for name, test := range map[string]struct {
		ref     string
		spoil   func(dir string)
		limited bool
	}{
		"an archive that leads out":          {"oci-archive:oci.tar", link("oci.tar", outside+"/oci.tar"), false},
		"a docker archive that leads out":    {"docker-archive:docker.tar", link("docker.tar", outside+"/docker.tar"), false},
		"a layout that leads out":            {"oci:layout", link("layout", outside+"/layout"), false},
		"a directory that leads out":         {"dir:flat", link("flat", outside+"/flat"), false},
		"a version that leads out":           {"dir:flat", link("flat/version", outside+"/marker"), false},
		"an index that leads out":            {"oci:layout", link("layout/index.json", outside+"/layout/index.json"), false},
		"blobs that lead out":                {"oci:layout", link("layout/blobs", outside+"/layout/blobs"), false},
		"an archive whose index leads out":   {"oci-archive:oci.tar", func(dir string) { linkedArchive(t, dir, outside+"/layout/index.json") }, false},
		"a pipe as an archive":               {"oci-archive:oci.tar", fifo("oci.tar"), false},
		"a pipe as a docker archive":         {"docker-archive:docker.tar", fifo("docker.tar"), false},
		"a pipe as an index":                 {"oci:layout", fifo("layout/index.json"), false},
		"a pipe as a manifest":               {"oci:layout", func(dir string) { fifo(manifest(dir))(dir) }, false},
		"a pipe in a directory":              {"dir:flat", fifo("flat/manifest.json"), false},
		"an index of many megabytes":         {"oci:layout", big("layout/index.json"), true},
		"a manifest of many megabytes":       {"oci:layout", func(dir string) { big(manifest(dir))(dir) }, true},
		"a flat manifest of many megabytes":  {"dir:flat", big("flat/manifest.json"), true},
		"an archive of a manifest like that": {"oci-archive:oci.tar", func(dir string) { bigArchive(t, dir) }, true},
	} {
		dir := t.TempDir()
		ok(t, exec.Command("cp", "-r", good+"/.", dir).Run())
		test.spoil(dir)
		below := builder.Dir(dir)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		_, err := b.Stage(ctx, test.ref, builder.StageOptions{Below: &below})
		cancel()
		var limit *limits.LimitError
		switch {
		case err == nil || ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) || errors.As(err, &limit) != test.limited:
			t.Errorf("%s: %v", name, err)
		case !errors.Is(err, builder.ErrInvalid) && !errors.Is(err, builder.ErrImageNotFound) && !strings.Contains(name, "leads out"):
			t.Errorf("%s: the error has no kind: %v", name, err)
		case strings.Contains(err.Error(), secret), strings.Contains(err.Error(), "/proc/self"):
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	equal(t, snapshot(t, outside), before)
	// Nor does the command line's wait.
	for _, ref := range []string{"oci-archive:", "docker-archive:", "oci:", "dir:"} {
		dir := t.TempDir()
		if strings.HasSuffix(ref, "archive:") {
			fifo("x")(dir)
		} else {
			ok(t, os.CopyFS(filepath.Join(dir, "x"), os.DirFS(filepath.Join(good, map[string]string{"oci:": "layout", "dir:": "flat"}[ref]))))
			fifo(map[string]string{"oci:": "x/index.json", "dir:": "x/version"}[ref])(dir)
		}
		_, err := b.Pull(t.Context(), ref+dir+"/x", builder.PullOptions{})
		is(t, err, builder.ErrInvalid)
	}
}

// linkedArchive replaces oci.tar by one whose index is a link.
func linkedArchive(t testing.TB, dir, target string) {
	t.Helper()
	writeTar(t, filepath.Join(dir, "oci.tar"), &tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777})
}

// bigArchive replaces oci.tar by one whose index is large.
func bigArchive(t testing.TB, dir string) {
	t.Helper()
	writeTar(t, filepath.Join(dir, "oci.tar"), &tar.Header{Name: "index.json", Typeflag: tar.TypeReg, Size: limits.MaxJSON + 1, Mode: 0o644})
}

func writeTar(t testing.TB, name string, h *tar.Header) {
	t.Helper()
	f, err := os.Create(name)
	ok(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	ok(t, w.WriteHeader(h))
	_, err = w.Write(make([]byte, h.Size))
	ok(t, err)
	ok(t, w.Close())
}
