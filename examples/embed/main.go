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
	ctx := context.Background()
	b, err := builder.Open(ctx, builder.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	img, err := build(ctx, b, "localhost/embed:latest")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(img.ID)
}

// build is what the program is about. It takes the Builder, so that a test can give it one
// that needs no machine: see main_test.go.
func build(ctx context.Context, b *builder.Builder, name string) (img builder.Image, err error) {
	golang, err := b.Stage(ctx, "golang:1.26", builder.StageOptions{})
	if err != nil {
		return img, err
	}
	defer golang.Close()
	if _, err := golang.Copy(ctx, "/src/", builder.FS(sources).Select("src/*.go")); err != nil {
		return img, err
	}
	compile := builder.Cmd{Dir: "/src", Env: []string{"CGO_ENABLED=0"}, Stderr: os.Stderr,
		Args: []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/hello", "hello.go"}}
	if _, err := golang.Run(ctx, compile); err != nil {
		return img, err
	}
	final, err := b.Stage(ctx, "busybox:1.36", builder.StageOptions{})
	if err != nil {
		return img, err
	}
	defer final.Close()
	if _, err := final.Workdir(ctx, "/srv", ""); err != nil {
		return img, err
	}
	if _, err := final.Copy(ctx, "/usr/local/bin/hello", golang.Path("/out/hello")); err != nil {
		return img, err
	}
	final.Configure("", func(c *builder.Config) {
		c.Labels = map[string]string{"org.opencontainers.image.title": "multistage-go"}
		c.Cmd = []string{"/usr/local/bin/hello"}
	})
	return final.Commit(ctx, name, builder.CommitOptions{})
}
