// Package early has an init function that prints and takes a second. It imports next to nothing, so
// Go initialises it before package builder, which ends the initialisation of a worker.
package early

import (
	"fmt"
	"time"
)

func init() {
	fmt.Println("slow: starting")
	time.Sleep(time.Second)
}
