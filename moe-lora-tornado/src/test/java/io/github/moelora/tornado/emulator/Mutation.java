package io.github.moelora.tornado.emulator;

import java.lang.classfile.CodeBuilder;
import java.lang.classfile.CodeElement;
import java.lang.classfile.Opcode;
import java.lang.classfile.TypeKind;
import java.lang.classfile.instruction.ArrayStoreInstruction;
import java.lang.classfile.instruction.BranchInstruction;
import java.lang.classfile.instruction.ConstantInstruction;
import java.lang.classfile.instruction.IncrementInstruction;
import java.lang.classfile.instruction.InvokeInstruction;
import java.lang.classfile.instruction.LoadInstruction;
import java.lang.classfile.instruction.OperatorInstruction;
import java.lang.constant.ClassDesc;
import java.lang.constant.MethodTypeDesc;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.KernelContext;

/**
 * A way to get one instruction wrong.
 *
 * @param change what it changes, as source code would show it
 * @param code emits what stands in the instruction's place; the stack effect is the same
 */
record Mutation(String change, Consumer<CodeBuilder> code) {
  private static final String CONTEXT = KernelContext.class.getName().replace('.', '/');

  /** Variables that are easily taken for one another. */
  private static final Map<String, String> TWINS =
      Map.of("blockExperts", "blockAdapters", "blockAdapters", "blockExperts");

  private static final Map<Opcode, Opcode> NEGATED = new HashMap<>();
  private static final Map<Opcode, Opcode> MOVED = new HashMap<>();
  private static final Map<Opcode, Opcode> OPERATORS = new HashMap<>();

  static {
    pair(NEGATED, Opcode.IFEQ, Opcode.IFNE);
    pair(NEGATED, Opcode.IFLT, Opcode.IFGE);
    pair(NEGATED, Opcode.IFLE, Opcode.IFGT);
    pair(NEGATED, Opcode.IF_ICMPEQ, Opcode.IF_ICMPNE);
    pair(NEGATED, Opcode.IF_ICMPLT, Opcode.IF_ICMPGE);
    pair(NEGATED, Opcode.IF_ICMPLE, Opcode.IF_ICMPGT);
    pair(MOVED, Opcode.IFLT, Opcode.IFLE);
    pair(MOVED, Opcode.IFGE, Opcode.IFGT);
    pair(MOVED, Opcode.IF_ICMPLT, Opcode.IF_ICMPLE);
    pair(MOVED, Opcode.IF_ICMPGE, Opcode.IF_ICMPGT);
    pair(OPERATORS, Opcode.IADD, Opcode.ISUB);
    pair(OPERATORS, Opcode.LADD, Opcode.LSUB);
    pair(OPERATORS, Opcode.FADD, Opcode.FSUB);
    pair(OPERATORS, Opcode.IAND, Opcode.IOR);
    pair(OPERATORS, Opcode.LAND, Opcode.LOR);
    pair(OPERATORS, Opcode.ISHL, Opcode.ISHR);
    pair(OPERATORS, Opcode.LSHL, Opcode.LSHR);
    OPERATORS.put(Opcode.IUSHR, Opcode.ISHL);
    OPERATORS.put(Opcode.LUSHR, Opcode.LSHL);
    OPERATORS.put(Opcode.IMUL, Opcode.IADD);
    OPERATORS.put(Opcode.LMUL, Opcode.LADD);
    OPERATORS.put(Opcode.IDIV, Opcode.IMUL);
    OPERATORS.put(Opcode.IREM, Opcode.IDIV);
    OPERATORS.put(Opcode.IXOR, Opcode.IAND);
  }

  private static void pair(Map<Opcode, Opcode> map, Opcode a, Opcode b) {
    map.put(a, b);
    map.put(b, a);
  }

  /** Whether it is a number that becomes larger. */
  boolean growsOnly() {
    return change.matches("\\d+ -> \\d+");
  }

  /**
   * All mutations of an instruction.
   *
   * @param variables slots of the method's local variables by name
   */
  static List<Mutation> of(CodeElement element, Map<String, Integer> variables) {
    List<Mutation> list = new ArrayList<>();
    switch (element) {
      case ConstantInstruction constant -> addConstant(list, constant);
      case BranchInstruction branch -> addBranch(list, branch);
      case OperatorInstruction operator -> addOperator(list, operator);
      case IncrementInstruction increment ->
          list.add(
              new Mutation(
                  "+= %d -> %d".formatted(increment.constant(), 2 * increment.constant()),
                  code -> code.iinc(increment.slot(), 2 * increment.constant())));
      case InvokeInstruction call -> addCall(list, call);
      case ArrayStoreInstruction store ->
          list.add(new Mutation("store left out", code -> dropStore(code, store.typeKind())));
      case LoadInstruction load -> addTwin(list, load, variables);
      default -> {}
    }
    return list;
  }

  private static void addConstant(List<Mutation> list, ConstantInstruction constant) {
    switch (constant.constantValue()) {
      case Integer value ->
          list.add(
              new Mutation(
                  "%d -> %d".formatted(value, value + 1), code -> code.loadConstant(value + 1)));
      case Long value ->
          list.add(
              new Mutation(
                  "%dL -> %dL".formatted(value, value + 1), code -> code.loadConstant(value + 1)));
      case Float value ->
          list.add(
              new Mutation(
                  "%sf -> %sf".formatted(value, 2 * value + 1),
                  code -> code.loadConstant(2 * value + 1)));
      default -> {}
    }
  }

  private static void addBranch(List<Mutation> list, BranchInstruction branch) {
    addBranch(list, branch, "condition negated", NEGATED.get(branch.opcode()));
    addBranch(list, branch, "bound moved by one", MOVED.get(branch.opcode()));
  }

  private static void addBranch(
      List<Mutation> list, BranchInstruction branch, String change, @Nullable Opcode opcode) {
    if (opcode != null) {
      list.add(new Mutation(change, code -> code.branch(opcode, branch.target())));
    }
  }

  private static void addOperator(List<Mutation> list, OperatorInstruction operator) {
    Opcode from = operator.opcode();
    Opcode to = OPERATORS.get(from);
    if (to != null) {
      list.add(
          new Mutation(
              "%s -> %s".formatted(from, to).toLowerCase(java.util.Locale.ROOT),
              code -> code.with(OperatorInstruction.of(to))));
    }
    if (from == Opcode.FMUL) {
      list.add(new Mutation("second factor left out", CodeBuilder::pop));
      list.add(new Mutation("first factor left out", code -> code.swap().pop()));
    }
  }

  private static void addCall(List<Mutation> list, InvokeInstruction call) {
    String owner = call.owner().asInternalName();
    String name = call.name().stringValue();
    MethodTypeDesc type = call.typeSymbol();
    boolean instance = call.opcode() != Opcode.INVOKESTATIC;
    if (type.returnType().descriptorString().equals("V") && !name.equals("<init>")) {
      list.add(new Mutation(name + " left out", code -> dropCall(code, type, instance)));
    }
    if (owner.equals("java/lang/Math") && (name.equals("min") || name.equals("max"))) {
      String other = name.equals("min") ? "max" : "min";
      list.add(
          new Mutation(
              name + " -> " + other,
              code -> code.invokestatic(ClassDesc.of("java.lang.Math"), other, type)));
    }
    if (owner.equals(CONTEXT)) {
      switch (name) {
        case "simdSum", "simdBroadcastFirst" ->
            list.add(new Mutation(name + " left out", code -> code.swap().pop()));
        case "simdShuffleDown" ->
            list.add(new Mutation(name + " left out", code -> code.pop().swap().pop()));
        default -> {}
      }
    }
  }

  private static void addTwin(
      List<Mutation> list, LoadInstruction load, Map<String, Integer> variables) {
    TWINS.forEach(
        (name, other) -> {
          Integer slot = variables.get(other);
          if (slot != null && Integer.valueOf(load.slot()).equals(variables.get(name))) {
            list.add(new Mutation(name + " -> " + other, code -> code.aload(slot)));
          }
        });
  }

  private static void dropCall(CodeBuilder code, MethodTypeDesc type, boolean instance) {
    for (ClassDesc parameter : type.parameterList().reversed()) {
      drop(code, TypeKind.from(parameter));
    }
    if (instance) {
      code.pop();
    }
  }

  private static void dropStore(CodeBuilder code, TypeKind kind) {
    drop(code, kind);
    code.pop2();
  }

  private static void drop(CodeBuilder code, TypeKind kind) {
    if (kind.slotSize() == 2) {
      code.pop2();
    } else {
      code.pop();
    }
  }
}
