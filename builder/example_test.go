//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/oakum-build/oakum/builder"
	saved "github.com/oakum-build/oakum/builder/archive"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/builder/usage"
)

// The examples build in a store of their own, which has a busybox image. Errors end
// them.

func ExampleOpen() {
	ctx := context.Background()
	root, cleanUp := exampleStore()
	defer cleanUp()

	b := must(builder.Open(ctx, builder.Options{Root: root}))
	defer b.Close()
	info := must(b.Info(ctx))
	fmt.Println(info.Driver, info.Images)
	// Output: overlay 1
}

func ExampleBuilder_Stage() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{Pull: "never"}))
	defer s.Close()
	fmt.Println(s.Config().Cmd)

	_, err := b.Stage(ctx, "no/such/image", builder.StageOptions{Pull: "never"})
	fmt.Println(errors.Is(err, builder.ErrImageNotFound))
	// Output:
	// [sh]
	// true
}

func ExampleStage_Copy() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	files := fstest.MapFS{ // an embed.FS does as well, and builder.Dir for a directory
		"main.go":      {Data: []byte("package main"), Mode: 0o644},
		"main_test.go": {Data: []byte("package main"), Mode: 0o644},
		"README.md":    {Data: []byte("# app"), Mode: 0o644},
	}
	must(s.Copy(ctx, "/src/", builder.FS(files).Select("*.go").Ignore("*_test.go").Chown("1000:1000")))
	must(s.Run(ctx, builder.Cmd{Args: []string{"stat", "-c", "%n %u:%g", "/src/main.go"}, Stdout: os.Stdout}))
	must(s.Run(ctx, builder.Cmd{Args: []string{"ls", "/src"}, Stdout: os.Stdout}))
	// Output:
	// /src/main.go 1000:1000
	// main.go
}

// A secret is a file and a variable of one command, and nothing of it is left.
func ExampleMount_secret() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	token := mount.Secret{Env: "TOKEN", Read: func(context.Context) ([]byte, error) { return []byte("s3cret\n"), nil }}
	must(s.Run(ctx, builder.Cmd{
		Args:   []string{"sh", "-c", "wc -c </run/secrets/token; echo ${#TOKEN}"},
		Mounts: []builder.Mount{{Target: "/run/secrets/token", Secret: &token}}, Stdout: os.Stdout,
	}))
	must(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "ls /run/secrets 2>&1; echo ${TOKEN-unset}"}, Stdout: os.Stdout}))
	// Output:
	// 7
	// 7
	// ls: /run/secrets: No such file or directory
	// unset
}

// When a command fails, OnError looks at what it left.
func ExampleStage_Run_onError() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	_, err := s.Run(ctx, builder.Cmd{
		Args: []string{"sh", "-c", "echo half done >/state; false"},
		OnError: func(ctx context.Context, failed *builder.ExitError, run func(context.Context, builder.Cmd) error) {
			fmt.Println("status", failed.Code)
			_ = run(ctx, builder.Cmd{Args: []string{"cat", "/state"}, Stdout: os.Stdout})
		},
	})
	fmt.Println(err)
	// Output:
	// status 1
	// half done
	// command "sh -c echo half done >/state; false": exit status 1
}

// What was built leaves as files, without an image.
func ExampleBuilder_ExportDir() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()
	dir := must(os.MkdirTemp("", "example-"))
	defer os.RemoveAll(dir)

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	must(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "mkdir /out && echo built >/out/app"}}))
	err := b.ExportDir(ctx, dir, s.Path("/out"), builder.Bytes("version", []byte("1")).Under("etc"))
	if err != nil {
		panic(err)
	}
	fmt.Print(string(must(os.ReadFile(filepath.Join(dir, "app")))))
	fmt.Println(string(must(os.ReadFile(filepath.Join(dir, "etc/version")))))
	// Output:
	// built
	// 1
}

// A tar of a root file system, or of a part of it, goes to any writer.
func ExampleBuilder_Export() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	var archive bytes.Buffer
	if err := b.Export(ctx, &archive, builder.ImageFiles("busybox").Select("bin/sh").Under("tools")); err != nil {
		panic(err)
	}
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if err != nil {
			break // io.EOF
		}
		fmt.Println(h.Name)
	}
	// Output:
	// tools/
	// tools/sh
}

func ExampleBytes() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	must(s.Copy(ctx, "/etc/", builder.Bytes("motd", []byte("hello\n")), builder.Bytes("issue", []byte("oakum\n")).Chmod("600")))
	must(s.Run(ctx, builder.Cmd{Args: []string{"cat", "/etc/motd", "/etc/issue"}, Stdout: os.Stdout}))
	// Output:
	// hello
	// oakum
}

func ExampleImageFiles() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, builder.Scratch, builder.StageOptions{}))
	defer s.Close()
	must(s.Copy(ctx, "/", builder.ImageFiles("busybox").Pull("never")))
	must(s.Run(ctx, builder.Cmd{Args: []string{"/bin/echo", "from an image"}, Stdout: os.Stdout}))
	// Output: from an image
}

func ExampleStage_Add() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	archive := fstest.MapFS{"site.tar": {Data: exampleTar("index.html"), Mode: 0o644}}
	must(s.Add(ctx, "/www/", builder.FS(archive).Select("site.tar")))
	must(s.Run(ctx, builder.Cmd{Args: []string{"ls", "/www"}, Stdout: os.Stdout}))
	// Output: index.html
}

func ExampleStage_Run() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	must(s.Run(ctx, builder.Cmd{
		Args:   []string{"sh", "-c", "tr a-z A-Z; echo $GREETING from $PWD"},
		Env:    []string{"GREETING=hello"},
		Dir:    "/tmp",
		Stdin:  strings.NewReader("typed\n"),
		Stdout: os.Stdout,
	}))

	_, err := s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo broken; exit 3"}})
	var failed *builder.ExitError
	if errors.As(err, &failed) {
		fmt.Printf("%d %q\n", failed.Code, failed.Output)
	}
	// Output:
	// TYPED
	// hello from /tmp
	// 3 "broken\n"
}

func ExampleMount() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	src := fstest.MapFS{"words": {Data: []byte("b\na\n")}} // builder.Dir for a directory
	for _, script := range []string{"sort words | tee /cache/sorted", "cat /cache/sorted; ls /src"} {
		must(s.Run(ctx, builder.Cmd{
			Args: []string{"sh", "-c", script},
			Dir:  "/src",
			Mounts: []builder.Mount{
				{Target: ".", From: builder.FS(src), ReadOnly: true},
				{Target: "/cache", Cache: &mount.Cache{ID: "words", Sharing: mount.Locked}},
				{Target: "/tmp", Tmpfs: &mount.Tmpfs{Size: 64 << 20}},
			},
			Stdout: os.Stdout,
		}))
	}
	_, err := s.ReadFile(ctx, "/cache/sorted", 100) // a mount leaves no trace
	fmt.Println(errors.Is(err, builder.ErrNotFound))
	// Output:
	// a
	// b
	// a
	// b
	// words
	// true
}

func ExampleStage_Workdir() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	must(s.Workdir(ctx, "/srv", ""))
	must(s.Workdir(ctx, "app", ""))
	fmt.Println(s.Config().WorkingDir)
	must(s.Run(ctx, builder.Cmd{Args: []string{"pwd"}, Stdout: os.Stdout}))
	// Output:
	// /srv/app
	// /srv/app
}

func ExampleStage_Configure() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	s.Configure(`CMD ["httpd", "-f"]`, func(c *builder.Config) { // what the history shows
		c.Cmd = []string{"httpd", "-f"}
		c.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	})
	must(s.Commit(ctx, "web", builder.CommitOptions{}))
	d := must(b.Inspect(ctx, "web"))
	fmt.Println(d.Config.Cmd, d.History[len(d.History)-1].CreatedBy)
	// Output: [httpd -f] CMD ["httpd", "-f"]
}

// A program is built in one stage, and only the result goes into the image.
func ExampleStage_Commit() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	build := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer build.Close()
	must(build.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo program >/app; chmod +x /app"}}))

	final := must(b.Stage(ctx, builder.Scratch, builder.StageOptions{}))
	defer final.Close()
	must(final.Copy(ctx, "/app", build.Path("/app")))
	final.Configure("", func(c *builder.Config) { c.Entrypoint = []string{"/app"} })
	img := must(final.Commit(ctx, "app:v1", builder.CommitOptions{Names: []string{"example.com/team/app:v1"}}))

	d := must(b.Inspect(ctx, img.ID))
	fmt.Println(len(d.Layers), d.Config.Entrypoint, d.Names)
	// Output: 1 [/app] [localhost/app:v1 example.com/team/app:v1]
}

func ExampleStage_Fork() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	common := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer common.Close()
	must(common.Run(ctx, builder.Cmd{Args: []string{"touch", "/common"}}))
	for _, flavour := range []string{"plain", "debug"} {
		s := must(common.Fork(ctx, builder.StageOptions{Name: flavour}))
		must(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/" + flavour}}))
		must(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "ls -d /common /plain /debug 2>/dev/null | xargs"}, Stdout: os.Stdout, Ephemeral: true}))
		check(s.Close())
	}
	// Output:
	// /common /plain
	// /common /debug
}

func ExampleStep() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	for range 2 {
		s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
		step := must(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/f"}}))
		fmt.Println("cached:", step.Cached)
		check(s.Close())
	}
	// Output:
	// cached: false
	// cached: true
}

func ExampleBuilder_Images() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	for _, img := range must(b.Images(ctx)) {
		fmt.Println(img.Names, img.Size > 0)
	}
	// Output: [localhost/busybox:latest] true
}

func ExampleBuilder_Inspect() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	d := must(b.Inspect(ctx, "busybox"))
	same := must(b.Inspect(ctx, d.ID[:12]))
	fmt.Println(d.OS, d.Manifest.MediaType, len(d.Layers), same.ID == d.ID)
	// Output: linux application/vnd.oci.image.manifest.v1+json 1 true
}

func ExampleBuilder_Tag() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	check(b.Tag(ctx, "busybox", "tools:v1", "example.com/tools"))
	fmt.Println(strings.Join(must(b.Inspect(ctx, "tools:v1")).Names, "\n"))
	// Unordered output:
	// localhost/busybox:latest
	// localhost/tools:v1
	// example.com/tools:latest
}

func ExampleBuilder_Remove() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	check(b.Tag(ctx, "busybox", "tools"))
	removed := must(b.Remove(ctx, "tools", builder.RemoveOptions{}))
	fmt.Println(removed.Untagged, len(removed.Deleted))
	removed = must(b.Remove(ctx, "busybox", builder.RemoveOptions{}))
	fmt.Println(removed.Untagged, len(removed.Deleted))
	// Output:
	// [localhost/tools:latest] 0
	// [localhost/busybox:latest] 1
}

func ExampleBuilder_Prune() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	must(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/f"}}))
	check(s.Close()) // not committed: only the layer cache knows of it
	fmt.Println(must(b.Prune(ctx, usage.Options{})).Layers)
	// Output: 1
}

// An image goes into an archive and comes back from it.
func ExampleBuilder_Push() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()
	archive := "oci-archive:" + filepath.Join(exampleDir(), "busybox.tar")

	sent := must(b.Push(ctx, "busybox", archive, builder.PushOptions{}))
	fmt.Println(sent.MediaType)
	must(b.Remove(ctx, "busybox", builder.RemoveOptions{}))
	img := must(b.Pull(ctx, archive, builder.PullOptions{}))
	fmt.Println(len(must(b.Images(ctx))), must(b.Inspect(ctx, img.ID)).Config.Cmd)
	// Output:
	// application/vnd.oci.image.manifest.v1+json
	// 1 [sh]
}

// An image is sent to its registry while it is still being built.
func ExampleBuilder_NewPush() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	name := strings.TrimPrefix(server.URL, "http://") + "/app:1"
	plain := false

	// It fails here when the registry may not be pushed to.
	p := must(b.NewPush(ctx, []string{name}, builder.PushOptions{Registry: builder.Registry{TLSVerify: &plain}}))
	defer p.Close()
	s := must(b.Stage(ctx, "busybox", builder.StageOptions{Push: p}))
	defer s.Close()
	must(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/built"}}))
	img := must(s.Commit(ctx, name, builder.CommitOptions{}))
	sent := must(p.Finish(ctx, img.ID))
	fmt.Println(len(sent), sent[0].MediaType)
	// Output: 1 application/vnd.oci.image.manifest.v1+json
}

func ExampleBuilder_Pull() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	_, err := b.Pull(ctx, "127.0.0.1:1/unreachable", builder.PullOptions{})
	fmt.Println(errors.Is(err, builder.ErrRegistry))
	// Output: true
}

// Several images go from one store to another as a stream.
func ExampleBuilder_Save() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()
	other, cleanUpOther := exampleBuilder()
	defer cleanUpOther()

	r, w := io.Pipe()
	go func() {
		_, err := b.Save(ctx, w, builder.PushOptions{}, saved.Image{Ref: "busybox", Names: []string{"localhost/base:1", "localhost/base:2"}})
		w.CloseWithError(err)
	}()
	for _, img := range must(other.Load(ctx, r, builder.PullOptions{})) {
		fmt.Println(slices.Contains(img.Names, "localhost/base:1"), slices.Contains(img.Names, "localhost/base:2"))
	}
	// Output: true true
}

// What commands keep in a cache can be had on another machine, on which nothing has been built yet.
func ExampleBuilder_ExportMounts() {
	ctx := context.Background()
	here, cleanUp := exampleBuilder()
	defer cleanUp()
	there, cleanUpThere := exampleBuilder()
	defer cleanUpThere()
	modules := builder.Mount{Target: "/go/pkg/mod", Cache: &mount.Cache{ID: "modules"}}
	in := func(b *builder.Builder, script string) {
		s := must(b.Stage(ctx, "busybox", builder.StageOptions{Pull: "never"}))
		defer s.Close()
		must(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", script}, Mounts: []builder.Mount{modules}, Stdout: os.Stdout}))
	}

	in(here, "echo downloaded >/go/pkg/mod/module")
	var archive bytes.Buffer
	must(here.ExportMounts(ctx, mount.Export{Archive: &archive}, builder.PushOptions{}))
	moved := must(there.ImportMounts(ctx, mount.Import{Archive: &archive}, builder.PullOptions{}))
	fmt.Println(moved[0].ID)
	in(there, "cat /go/pkg/mod/module")
	// Output:
	// modules
	// downloaded
}
