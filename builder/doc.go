// Package builder builds OCI images without a daemon and without root.
//
// A [Builder] is a handle on a containers/storage store. Its three primitives
// are those of a Dockerfile: [Builder.Stage] starts a filesystem from an image,
// from [Scratch] or from another stage; [Stage.Copy] (and [Stage.Add]) brings
// files in; [Stage.Run] runs a command in it, isolated. [Stage.Commit] writes the
// result as an image. Steps are eager: a call returns when its step is done, so
// Go's own if and for stand between steps. Each step is one layer, found in the
// layer cache when nothing it depends on has changed. What a call did it returns as a [Step].
//
//	b, err := builder.Open(ctx, builder.Options{})
//	...
//	defer b.Close()
//	src, err := b.Stage(ctx, "docker.io/library/golang:1.26", builder.StageOptions{})
//	...
//	_, err = src.Copy(ctx, "/src", builder.Dir("."))
//	_, err = src.Run(ctx, builder.Cmd{Args: []string{"go", "build", "-o", "/out/app", "."}, Dir: "/src"})
//	final, err := b.Stage(ctx, builder.Scratch, builder.StageOptions{})
//	_, err = final.Copy(ctx, "/app", src.Path("/out/app"))
//	final.Configure("", func(c *builder.Config) { c.Entrypoint = []string{"/app"} })
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
// The init functions of the program's other packages run in the worker too. One that ends the
// process or waits makes Open fail, with what it wrote. Where none may run a second time,
// Options.Worker names another program as the worker.
//
// # What a program needs
//
// Images are built on Linux: by root, or by an ordinary user with subordinate ids and the
// programs newuidmap and newgidmap, where user namespaces are allowed. What a machine lacks is
// a [HostError]. On other systems the package compiles all the same, Open says that it takes
// Linux, package dockerfile checks Dockerfiles, and buildertest has a Builder for tests.
//
// Nothing needs cgo, a build tag or a replace directive. With cgo, containers/storage wants the headers of
// btrfs, unless the tag exclude_graphdriver_btrfs leaves them out. [Stage.Run] works on
// x86-64 and arm64, from Linux 5.12 on. Package builder/oci, which does need cgo, adds libcontainer, and
// builder/signatures, with the tag containers_image_openpgp, the checks of signatures that a policy.json may
// demand: without it, an image that has to be signed is a [HostError].
// No file of a
// configuration is needed: those of containers/storage and containers/image count where they
// are there.
//
// # Stores
//
// The zero [Options] open the store that Podman and Buildah of the same user use, so that an
// image is in all of them at once. The files of a store that an ordinary user has belong to
// subordinate ids, which neither os.RemoveAll nor testing's TempDir can remove: [RemoveStore]
// does, and buildertest.Store gives a test a store that goes with it.
//
// # The cache, and output
//
// A step is found in the layer cache when the layers below it, the call and what it reads are
// as they were. A command whose step is found does not run, so that nothing is written to the Stdout
// and Stderr of its [Cmd]; [Step.Cached] says so. StageOptions.NoCache runs every step. Variables for
// proxies, and others that are not to count, go into Cmd.UncachedEnv, which has no part in the cache.
//
// The package prints nothing and logs nothing by itself: Options.Logger gets what the libraries
// below have to say, and a failed command's last lines are in its [ExitError].
//
// # Events
//
// Options.Events is told of pulls, steps, commits and warnings, of each with the build and the
// stage that it belongs to (package builder/event). It may take its time, and may call the Builder.
//
// # Goroutines, contexts and errors
//
// A Builder is safe for many goroutines. A Stage belongs to one goroutine at a
// time; stages of one Builder run side by side. When the context of a call ends, the call undoes
// what it was doing and gives the context's error. Errors are branched on by errors.Is with the
// variables of this package, and by errors.As with its types, which say more.
//
// # Tests
//
// Package buildertest makes a Builder without a store, a worker or namespaces, so that a program's
// own build function, which takes a *Builder, is tested anywhere.
package builder
