// Command greet prints the greeting that the image carries beside it.
package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := os.ReadFile("/app/static/greeting.txt")
	if err != nil {
		fmt.Fprintln(os.Stderr, "greet:", err)
		os.Exit(1)
	}
	fmt.Printf("Copied by index: %s", text)
}
