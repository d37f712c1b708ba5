// Command hello is what the example image runs.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
	fmt.Printf("Hello from an image that oakum built: %s/%s, in %s\n", runtime.GOOS, runtime.GOARCH, dir)
}
