package dockerfile_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// Build the Dockerfile of the present directory, show what its commands print, and
// say where it failed if it did.
func ExampleBuild() {
	ctx := context.Background()
	b, err := builder.Open(ctx, builder.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	version := "1.2"
	img, err := dockerfile.Build(ctx, b, dockerfile.Options{
		Context:   dockerfile.Context{Dir: "."},
		BuildArgs: map[string]*string{"VERSION": &version},
		Image:     dockerfile.Image{Names: []string{"app:latest"}},
		Progress: func(e dockerfile.Event) {
			switch e.Kind {
			case dockerfile.StepStarted:
				fmt.Printf("%d/%d %s\n", e.Step, e.Total, e.Instruction)
			case dockerfile.StepOutput:
				os.Stdout.Write(e.Output)
			}
		},
	})
	var fault *dockerfile.Error
	if errors.As(err, &fault) {
		fmt.Print(fault.Excerpt)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(img.ID)
}
