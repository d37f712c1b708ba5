// Command embed builds what examples/multistage-go builds, without a Dockerfile:
// the sources come from the program itself, and the steps are calls on builder.
package main

import (
	"context"
	"embed"
	"fmt"
	"log"
	"os"

	"github.com/oakum-build/oakum/builder"
)

//go:embed src/*.go
var sources embed.FS

func main() {
	img, err := build(context.Background(), "localhost/embed:latest")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(img.ID)
}

func build(ctx context.Context, name string) (img builder.Image, err error) {
	b, err := builder.Open(ctx, builder.Options{})
	if err != nil {
		return img, err
	}
	defer b.Close()
	golang, err := b.Stage(ctx, "golang:1.26", builder.StageOptions{})
	if err != nil {
		return img, err
	}
	if err := golang.Copy(ctx, "/src/", builder.FS(sources).Select("src/*.go")); err != nil {
		return img, err
	}
	compile := builder.Cmd{Dir: "/src", Env: []string{"CGO_ENABLED=0"}, Stderr: os.Stderr,
		Args: []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/hello", "hello.go"}}
	if err := golang.Run(ctx, compile); err != nil {
		return img, err
	}
	final, err := b.Stage(ctx, "busybox:1.36", builder.StageOptions{})
	if err != nil {
		return img, err
	}
	if err := final.Workdir(ctx, "/srv"); err != nil {
		return img, err
	}
	if err := final.Copy(ctx, "/usr/local/bin/hello", golang.Path("/out/hello")); err != nil {
		return img, err
	}
	final.Configure(func(c *builder.Config) {
		c.Labels = map[string]string{"org.opencontainers.image.title": "multistage-go"}
		c.Cmd = []string{"/usr/local/bin/hello"}
	})
	return final.Commit(ctx, name, builder.CommitOptions{})
}
