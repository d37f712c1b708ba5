//go:build !cgo

package nsenter

// Without cgo there is no way into a user namespace: build with CGO_ENABLED=1.
var _ = oakum_needs_cgo__build_with_CGO_ENABLED_1_and_a_C_compiler
