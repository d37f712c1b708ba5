//go:build linux

package builder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"

	"github.com/oakum-build/oakum/builder"
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

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{Pull: builder.PullNever}))
	defer s.Close()
	fmt.Println(s.Config().Cmd)

	_, err := b.Stage(ctx, "no/such/image", builder.StageOptions{Pull: builder.PullNever})
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
	check(s.Copy(ctx, "/src/", builder.FS(files).Select("*.go").Ignore("*_test.go").Chown("1000:1000")))
	check(s.Run(ctx, builder.Cmd{Args: []string{"stat", "-c", "%n %u:%g", "/src/main.go"}, Stdout: os.Stdout}))
	check(s.Run(ctx, builder.Cmd{Args: []string{"ls", "/src"}, Stdout: os.Stdout}))
	// Output:
	// /src/main.go 1000:1000
	// main.go
}

func ExampleStage_Add() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	archive := fstest.MapFS{"site.tar": {Data: exampleTar("index.html"), Mode: 0o644}}
	check(s.Add(ctx, "/www/", builder.FS(archive).Select("site.tar")))
	check(s.Run(ctx, builder.Cmd{Args: []string{"ls", "/www"}, Stdout: os.Stdout}))
	// Output: index.html
}

func ExampleStage_Run() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	check(s.Run(ctx, builder.Cmd{
		Args:   []string{"sh", "-c", "tr a-z A-Z; echo $GREETING from $PWD"},
		Env:    []string{"GREETING=hello"},
		Dir:    "/tmp",
		Stdin:  strings.NewReader("typed\n"),
		Stdout: os.Stdout,
	}))

	err := s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo broken; exit 3"}})
	var failed *builder.ExitError
	if errors.As(err, &failed) {
		fmt.Printf("%d %q\n", failed.Code, failed.Output)
	}
	// Output:
	// TYPED
	// hello from /tmp
	// 3 "broken\n"
}

func ExampleStage_Workdir() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
	defer s.Close()
	check(s.Workdir(ctx, "/srv"))
	check(s.Workdir(ctx, "app"))
	fmt.Println(s.Config().WorkingDir)
	check(s.Run(ctx, builder.Cmd{Args: []string{"pwd"}, Stdout: os.Stdout}))
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
	s.Describe(`CMD ["httpd", "-f"]`) // what the history shows; without it, nothing
	s.Configure(func(c *builder.Config) {
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
	check(build.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "echo program >/app; chmod +x /app"}}))

	final := must(b.Stage(ctx, builder.Scratch, builder.StageOptions{}))
	defer final.Close()
	check(final.Copy(ctx, "/app", build.Path("/app")))
	final.Configure(func(c *builder.Config) { c.Entrypoint = []string{"/app"} })
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
	check(common.Run(ctx, builder.Cmd{Args: []string{"touch", "/common"}}))
	for _, flavour := range []string{"plain", "debug"} {
		s := must(common.Fork(ctx, builder.StageOptions{Name: flavour}))
		check(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/" + flavour}}))
		check(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "ls -d /common /plain /debug 2>/dev/null | xargs"}, Stdout: os.Stdout, Ephemeral: true}))
		check(s.Close())
	}
	// Output:
	// /common /plain
	// /common /debug
}

func ExampleStage_Last() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	for range 2 {
		s := must(b.Stage(ctx, "busybox", builder.StageOptions{}))
		check(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/f"}}))
		fmt.Println("cached:", s.Last().Cached)
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
	check(s.Run(ctx, builder.Cmd{Args: []string{"touch", "/f"}}))
	check(s.Close()) // not committed: only the layer cache knows of it
	fmt.Println(must(b.Prune(ctx)).Layers)
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

func ExampleBuilder_Pull() {
	ctx := context.Background()
	b, cleanUp := exampleBuilder()
	defer cleanUp()

	_, err := b.Pull(ctx, "127.0.0.1:1/unreachable", builder.PullOptions{})
	fmt.Println(errors.Is(err, builder.ErrRegistry))
	// Output: true
}
