# SPDX-License-Identifier: MIT
#
#   make              the library and the example programs
#   make train        trains the toy language model on the bundled text and shows samples
#   make test         builds and runs the tests; installs Check first when it is missing
#   make bench        measures all that docs/performance.md shows, beside PyTorch and OpenBLAS where they are installed;
#                     about 25 minutes (parts=steps,isa,gemm,op,generation,start,growth,profile: some; rounds=N)
#   make bench-growth measures how a step's time grows with each size, alone
#   make bench-docs   writes what it measured into README.md and docs/performance.md, with the pictures
#   make bench-attention  attention's time and memory for T = 4k .. 64k, causal and windowed; takes some minutes
#   make profile      where the time of a training step goes, by op and by module (model=toy|tiny|baby|long)
#   make bench-gemm   times the matrix product, beside OpenBLAS when it is installed
#   make check-layers tensor <- autograd <- nn <- examples, and no core folder uses an annex
#   make fuzz         feeds the file reader random bytes, with clang's fuzzer
#   make mutants      plants faults in a copy: tests must catch each (only=WORD: some; update=1: writes docs/mutants.md)
#   make clean        removes build/
#   make help         this text
#
# Variants: make config=debug|release|sanitize|scalar|coverage|fuzz  CC=gcc|clang  openmp=1|0  V=1

# As many jobs as cores, unless the command line says otherwise.
jobs := $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))
MAKEFLAGS += --no-builtin-rules $(jobs)

config ?= release
openmp ?= 1
ifeq ($(origin CC),default)
CC := gcc
endif
build ?= build/$(config)-$(notdir $(CC))$(if $(filter 0,$(openmp)),-serial)
objects := $(build)/objects

warnings := -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes -Wmissing-prototypes \
            -Wundef -Wno-missing-field-initializers $(if $(werror),-Werror)
# Fused multiply-adds: gcc -std=c99 emits none unless told to.
contract := fast
arithmetic = -ffp-contract=$(contract) -fno-math-errno -fno-trapping-math

CFLAGS ?= -g
flags = -std=c99 -pedantic $(warnings) $(arithmetic) -I. $(CFLAGS)
optimize := -O3
kernel_optimize := -O3
ldflags :=

ifeq ($(config),debug)
optimize := -O0
kernel_optimize := -O1
else ifeq ($(config),sanitize)
optimize := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
kernel_optimize := $(optimize)
ldflags += -fsanitize=address,undefined
# The sanitizers' checks part some multiplications from their additions and not others: fuse none.
contract := off
else ifeq ($(config),coverage)
optimize := -O0 --coverage
kernel_optimize := $(optimize)
ldflags += --coverage
else ifeq ($(config),fuzz)
optimize := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
kernel_optimize := $(optimize)
ldflags += -fsanitize=address,undefined
else ifneq ($(filter-out release scalar,$(config)),)
$(error config=$(config) is not one of debug release sanitize scalar coverage fuzz)
endif

# Without OpenMP the simd pragmas stay: they need no runtime.
ifeq ($(openmp),1)
flags += -fopenmp
ldflags += -fopenmp
else
flags += -fopenmp-simd
endif

# One short line per file; V=1 shows the commands.
hide := $(if $(V),,@)
say := @$(if $(V),:,echo)

# ---- the library ----
core_folders := tensor tensor/kernels autograd nn
annex_folders := tensor/files autograd/watch autograd/gradcheck nn/models nn/gradcheck
folders := $(core_folders) $(annex_folders)
library_sources := $(filter-out tensor/kernels/kernels.c,$(wildcard $(folders:%=%/*.c)))
library_objects := $(library_sources:%.c=$(objects)/%.o)
library := $(build)/libattngrad.a

# kernels.c once per instruction set. config=scalar keeps only the builds that every machine runs.
isas := baseline reference
isa_flags_baseline := -DAG_ISA_NAME='"baseline"'
isa_flags_reference := -DAG_ISA_NAME='"reference"' -DAG_REFERENCE
ifneq ($(config),scalar)
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine)),)
isas += v3 v4
isa_flags_v3 := -DAG_ISA_NAME='"x86-64-v3"' -march=x86-64-v3
isa_flags_v4 := -DAG_ISA_NAME='"x86-64-v4"' -march=x86-64-v4 -mprefer-vector-width=512
flags += -DAG_HAVE_X86_64_LEVELS
endif
endif
kernel_objects := $(isas:%=$(objects)/tensor/kernels/kernels_%.o)

.PHONY: all
all: $(library) examples

$(library): $(library_objects) $(kernel_objects)
	$(say) "  AR    $@"
	@rm -f $@
	$(hide)$(AR) rcs $@ $^

$(objects)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<"
	$(hide)$(CC) $(flags) $(optimize) -MMD -MP -c $< -o $@

$(kernel_objects): $(objects)/tensor/kernels/kernels_%.o: tensor/kernels/kernels.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<, for $*"
	$(hide)$(CC) $(flags) $(kernel_optimize) $(isa_flags_$*) -DAG_ISA=$* -MMD -MP -c $< -o $@

# ---- example programs: examples/<name>.c or examples/<name>/*.c, and an archive of what they share ----
programs := lm generate encode head_attention multi_head_attention attention_gradients gradcheck linear_regression \
            translate forecast classify
example_shared := $(wildcard examples/shared/*.c)
example_library := $(build)/examples/libexamples.a
example_binaries := $(programs:%=$(build)/examples/%)

.PHONY: examples
examples: $(example_binaries)

$(example_library): $(example_shared:%.c=$(objects)/%.o)
	@mkdir -p $(@D)
	$(say) "  AR    $@"
	@rm -f $@
	$(hide)$(AR) rcs $@ $^

example_objects = $(patsubst %.c,$(objects)/%.o,$(wildcard examples/$1.c examples/$1/*.c))
define link_example
$(build)/examples/$1: $(call example_objects,$1) $(example_library) $(library)
	$$(say) "  LINK  $$@"
	$$(hide)$$(CC) $$(ldflags) $$^ -lm -o $$@
endef
$(foreach program,$(programs),$(eval $(call link_example,$(program))))

# Programs may use POSIX where a person needs it; the library may not.
$(objects)/examples/%.o: flags += -D_POSIX_C_SOURCE=200809L

.PHONY: train
train: $(build)/examples/lm
	$(build)/examples/lm train

# ---- tests ----
test_folders := tests $(folders:%=tests/%) tests/examples
test_sources := $(filter-out %/fuzz_safetensors.c,$(wildcard $(test_folders:%=%/*.c)))
test_objects := $(test_sources:%.c=$(objects)/%.o)
test_program := $(build)/tests/check
# Check's own macros are older than -pedantic C99 likes. What it takes to use Check is in check_flags.
check_flags := $(build)/check.flags
test_flags := -D_POSIX_C_SOURCE=200809L -Wno-variadic-macros -Wno-double-promotion -Wno-conversion \
              -DAG_FIXTURES='"tests/fixtures"' $$(grep -o -e '-I[^ ]*' $(check_flags))

$(objects)/tests/%.o: flags += $(test_flags)
$(test_objects): | check-installed

.PHONY: check-installed
check-installed:
	@mkdir -p $(build)
	@CC="$(CC)" sh tests/install_check.sh $(check_flags)

$(test_program): $(test_objects) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(CC) $(ldflags) $^ $$(cat $(check_flags)) -lm -o $@

.PHONY: test
test: $(test_program) $(example_binaries)
	CC="$(CC)" sh tests/check_docs.sh $(library) $(ldflags)
	sh tests/examples/check_examples.sh $(build)/examples
	sh tests/examples/check_lm.sh $(build)/examples/lm
	sh tests/examples/check_uses.sh $(build)/examples
	sh tests/examples/check_generate.sh $(build)/examples
	sh tests/mutants.sh --check
	$(test_program)

# Faults planted one at a time in a copy; the tests must catch each. docs/mutants.md is the table.
.PHONY: mutants
mutants: | check-installed
	CC="$(CC)" sh tests/mutants.sh $(build) only='$(only)' update='$(update)'

.PHONY: check-layers
check-layers: $(library) $(example_binaries)
	sh tests/check_layers.sh $(objects)

# Random bytes as safetensors files, for a minute; wants clang.
fuzzer := build/fuzz-clang/tests/fuzz_safetensors
fuzzer_object := build/fuzz-clang/objects/tests/tensor/files/fuzz_safetensors.o
.PHONY: fuzz
fuzz:
	$(MAKE) config=fuzz CC=clang $(fuzzer)
	@mkdir -p build/fuzz-corpus
	$(fuzzer) -max_total_time=60 -max_len=1024 build/fuzz-corpus

$(fuzzer): $(fuzzer_object) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(CC) $(ldflags) -fsanitize=fuzzer $^ -lm -o $@

# ---- benchmarks ----
bench_names := $(patsubst bench/%.c,%,$(wildcard bench/bench_*.c))
bench_binaries := $(bench_names:%=$(build)/bench/%)

$(bench_binaries): $(build)/bench/%: $(objects)/bench/%.o $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(CC) $(ldflags) $^ $(bench_libraries) -lm -o $@

$(objects)/bench/%.o: flags += -D_POSIX_C_SOURCE=200809L

# The machine's limits, once per instruction set.
limit_objects := $(patsubst %,$(objects)/bench/limits_%.o,$(filter-out reference,$(isas)))
$(limit_objects): $(objects)/bench/limits_%.o: bench/limits.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<, for $*"
	$(hide)$(CC) $(flags) $(optimize) $(isa_flags_$*) -DAG_ISA=$* -MMD -MP -c $< -o $@

$(build)/bench/bench_machine: $(limit_objects)

# The matrix product has OpenBLAS beside it where that is installed.
hash := \#
has_openblas = $(shell printf '$(hash)include <cblas.h>\nint main(void) { return 0; }\n' | \
                 $(CC) -x c - -lopenblas -o /dev/null 2>/dev/null && echo yes)
$(objects)/bench/bench_gemm.o: flags += $(if $(has_openblas),-DAG_HAVE_CBLAS)
$(build)/bench/bench_gemm: bench_libraries = $(if $(has_openblas),-lopenblas)

.PHONY: bench
bench: $(bench_binaries)
	@sh bench/run.sh $(build)/bench --parts '$(parts)' --rounds $(or $(rounds),5) --flags '$(flags) $(optimize)' \
	    --compiler '$(shell $(CC) --version | head -n 1)'

.PHONY: bench-growth
bench-growth:
	@$(MAKE) --no-print-directory bench parts=growth

# What README.md and docs/performance.md show: the tables of the last `make bench`, and its pictures.
.PHONY: bench-docs
bench-docs:
	python3 bench/report.py $(build)/bench/results.json README.md docs/performance.md

.PHONY: bench-attention
bench-attention: $(build)/bench/bench_attention
	python3 bench/attention.py $(build)/bench

# OpenBLAS told to use AVX-512 where this machine has it: it does not know every machine.
.PHONY: bench-gemm
bench-gemm: $(build)/bench/bench_gemm
	for threads in 1 2; do OPENBLAS_CORETYPE=$(if $(shell grep -m1 -o avx512f /proc/cpuinfo 2>/dev/null),SKYLAKEX,HASWELL) \
	    OPENBLAS_NUM_THREADS=$$threads $< --threads $$threads; done

.PHONY: profile
profile: $(build)/bench/bench_step
	$< --profile --model $(or $(model),tiny)

.PHONY: clean
clean:
	rm -rf build

.PHONY: help
help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

-include $(wildcard $(objects)/*/*.d $(objects)/*/*/*.d $(objects)/*/*/*/*.d)
