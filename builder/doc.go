// Package builder builds OCI images without a daemon and without root.
//
// A [Builder] is a handle on a containers/storage store. Its three primitives
// are those of a Dockerfile: [Builder.Stage] starts a filesystem from an image,
// from [Scratch] or from another stage; [Stage.Copy] (and [Stage.Add]) brings
// files in; [Stage.Run] runs a command in it, isolated. [Stage.Commit] writes the
// result as an image. Steps are eager: a call returns when its step is done, so
// Go's own if and for stand between steps. Each step is one layer, found in the
// layer cache when nothing it depends on has changed.
//
//	b, err := builder.Open(ctx, builder.Options{})
//	...
//	defer b.Close()
//	src, err := b.Stage(ctx, "docker.io/library/golang:1.26", builder.StageOptions{})
//	...
//	err = src.Copy(ctx, "/src", builder.Dir("."))
//	err = src.Run(ctx, builder.Cmd{Args: []string{"go", "build", "-o", "/out/app", "."}, Dir: "/src"})
//	final, err := b.Stage(ctx, builder.Scratch, builder.StageOptions{})
//	err = final.Copy(ctx, "/app", src.Path("/out/app"))
//	final.Configure(func(c *builder.Config) { c.Entrypoint = []string{"/app"} })
//	img, err := final.Commit(ctx, "app:latest", builder.CommitOptions{})
//
// # The worker
//
// Entering a user namespace is impossible for a running Go process, so [Open]
// starts one child, the worker: the same binary, re-executed by an init function
// of this package in its own user, mount and PID namespaces. A program that
// imports builder needs no hook in main. The worker makes every mount and starts
// every process of a build, and the kernel undoes them all when it dies; it dies
// with the Builder, and with the program, even by kill -9.
//
// A Builder is safe for many goroutines. A Stage belongs to one goroutine at a
// time; stages of one Builder run side by side.
package builder
