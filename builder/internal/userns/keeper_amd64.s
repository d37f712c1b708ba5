//go:build linux

#include "textflag.h"

// Code of a program of its own, which is never called here (keeper.go). The stack is what the kernel
// gives a new program: the number of arguments, the arguments, and the variables. Below it are 4096 bytes for
// lists of children, a struct sigaction, all signals, those before, those that are awaited, and a status.
TEXT ·keeper(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ SP, BX
	SUBQ $4224, SP

	MOVL $157, AX         // prctl(PR_SET_CHILD_SUBREAPER, 1)
	MOVL $36, DI
	MOVL $1, SI
	SYSCALL
	MOVQ $0, 4096(SP)
	MOVQ $0, 4104(SP)
	MOVQ $0, 4112(SP)
	MOVQ $0, 4120(SP)
	MOVL $13, AX          // rt_sigaction(SIGCHLD, SIG_DFL): else nothing could be waited for
	MOVL $17, DI
	LEAQ 4096(SP), SI
	XORL DX, DX
	MOVL $8, R10
	SYSCALL
	MOVQ $-1, 4128(SP)
	MOVQ $0x14000, 4144(SP) // SIGCHLD and SIGTERM
	MOVL $14, AX          // rt_sigprocmask(SIG_SETMASK)
	MOVL $2, DI
	LEAQ 4128(SP), SI
	LEAQ 4136(SP), DX
	MOVL $8, R10
	SYSCALL

	MOVL $56, AX  // clone(SIGCHLD)
	MOVL $17, DI
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JS    failed
	JZ    worker
	MOVQ  AX, R12
	XORL  R13, R13

files: // are the worker's
	MOVL $3, AX    // close
	MOVL R13, DI
	SYSCALL
	INCL R13
	CMPL R13, $7
	JNE  files

await:
	MOVL $128, AX      // rt_sigtimedwait
	LEAQ 4144(SP), DI
	XORL SI, SI
	XORL DX, DX
	MOVL $8, R10
	SYSCALL
	CMPQ AX, $15
	JEQ  end

dead:
	MOVL $61, AX          // wait4(-1, WNOHANG|__WALL)
	MOVQ $-1, DI
	LEAQ 4152(SP), SI
	MOVL $0x40000001, DX
	XORL R10, R10
	SYSCALL
	CMPQ AX, $0
	JLE  await
	CMPQ AX, R12
	JNE  dead
	MOVL 4152(SP), R13
	JMP  sweep

end:
	MOVL $62, AX  // kill(the worker, SIGKILL)
	MOVL R12, DI
	MOVL $9, SI
	SYSCALL
	MOVL $9, R13

sweep:
	MOVL  $257, AX    // openat
	MOVQ  $-100, DI
	MOVQ  16(BX), SI
	XORL  DX, DX
	SYSCALL
	TESTQ AX, AX
	JS    last        // not on this machine
	MOVQ  AX, BP
	XORL  R8, R8

list:
	XORL  AX, AX    // read
	MOVQ  BP, DI
	MOVQ  SP, SI
	MOVL  $4096, DX
	SYSCALL
	TESTQ AX, AX
	JLE   listed
	MOVQ  SP, R14
	LEAQ  (SP)(AX*1), R9

digit:
	CMPQ    R14, R9
	JEQ     list
	MOVBLZX 0(R14), AX
	INCQ    R14
	SUBL    $48, AX
	CMPL    AX, $9
	JHI     number
	IMULL   $10, R8
	ADDL    AX, R8
	JMP     digit

number:
	MOVL  R8, DI
	XORL  R8, R8
	TESTL DI, DI
	JZ    digit
	MOVL  $62, AX // kill(SIGKILL)
	MOVL  $9, SI
	SYSCALL
	JMP   digit

listed:
	MOVL $3, AX  // close
	MOVQ BP, DI
	SYSCALL
	XORL BP, BP  // the first one is waited for, which gives the keeper what was below it

rest:
	MOVL  $61, AX         // wait4(-1, __WALL), and then with WNOHANG
	MOVQ  $-1, DI
	LEAQ  4152(SP), SI
	MOVL  $0x40000000, DX
	ORL   BP, DX
	XORL  R10, R10
	SYSCALL
	MOVL  $1, BP
	CMPQ  AX, R12
	JNE   other
	MOVL  4152(SP), R13

other:
	CMPQ AX, $0
	JGT  rest
	JEQ  sweep
	CMPQ AX, $-4 // EINTR
	JEQ  sweep

last:
	MOVL $61, AX          // wait4(the worker, __WALL)
	MOVL R12, DI
	LEAQ 4152(SP), SI
	MOVL $0x40000000, DX
	XORL R10, R10
	SYSCALL
	CMPQ AX, R12
	JNE  exit
	MOVL 4152(SP), R13

exit: // as the worker has
	MOVL R13, DI
	ANDL $0x7f, DI
	JZ   status
	CMPL DI, $9
	JNE  signal
	MOVL $39, AX   // getpid
	SYSCALL
	MOVL AX, DI
	MOVL $62, AX   // kill
	MOVL $9, SI
	SYSCALL

signal:
	ADDL $128, DI
	MOVL $231, AX  // exit_group
	SYSCALL

status:
	MOVL R13, DI
	SHRL $8, DI
	ANDL $0xff, DI
	MOVL $231, AX  // exit_group
	SYSCALL

worker:
	MOVL $14, AX          // rt_sigprocmask(SIG_SETMASK)
	MOVL $2, DI
	LEAQ 4136(SP), SI
	XORL DX, DX
	MOVL $8, R10
	SYSCALL
	MOVL $72, AX          // fcntl(5, F_SETFD, FD_CLOEXEC)
	MOVL $5, DI
	MOVL $2, SI
	MOVL $1, DX
	SYSCALL
	MOVL $72, AX          // fcntl(6, F_SETFD, FD_CLOEXEC)
	MOVL $6, DI
	MOVL $2, SI
	MOVL $1, DX
	SYSCALL
	MOVQ 24(BX), DI
	LEAQ 32(BX), SI
	MOVQ 0(BX), AX
	LEAQ 16(BX)(AX*8), DX
	MOVL $59, AX          // execve
	SYSCALL

failed:
	NEGL AX
	MOVB $69, 0(SP) // 'E'
	MOVL AX, 1(SP)
	MOVL $1, AX     // write(the socket of the handshake)
	MOVL $3, DI
	MOVQ SP, SI
	MOVL $5, DX
	SYSCALL
	MOVL $231, AX   // exit_group
	MOVL $127, DI
	SYSCALL
	INT  $3

// func keeperCode() uintptr
TEXT ·keeperCode(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·keeper(SB), AX
	MOVQ AX, ret+0(FP)
	RET
