package io.github.moelora.tornado.emulator;

import java.lang.classfile.CodeBuilder;
import java.lang.classfile.CodeElement;
import java.lang.classfile.CodeTransform;
import java.lang.classfile.Label;
import java.lang.classfile.TypeKind;
import java.lang.classfile.instruction.BranchInstruction;
import java.lang.classfile.instruction.InvokeInstruction;
import java.lang.classfile.instruction.LabelTarget;
import java.lang.classfile.instruction.NewPrimitiveArrayInstruction;
import java.lang.constant.ClassDesc;
import java.lang.constant.ConstantDesc;
import java.lang.constant.ConstantDescs;
import java.lang.constant.MethodTypeDesc;
import java.util.HashSet;
import java.util.Set;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;

/**
 * Makes Java code do what the device does with it: a thread's own arrays start with NaN instead of
 * 0, a place that allocates local memory has the same array each time, see {@link LocalSites},
 * casts of local arrays go to {@link LocalTiles}, pairs of float16 to {@link HalfPairs}, and loops
 * are counted by {@link LoopGuard}.
 */
final class KernelTransform implements CodeTransform {
  private static final ClassDesc ARRAYS = ClassDesc.of("java.util.Arrays");
  private static final ClassDesc GUARD = ClassDesc.of(LoopGuard.class.getName());
  private static final ClassDesc HALVES = ClassDesc.of(HalfPairs.class.getName());
  private static final String HALF_FLOATS = HalfFloatArray.class.getName().replace('.', '/');
  private static final ClassDesc TILES = ClassDesc.of(LocalTiles.class.getName());
  private static final MethodTypeDesc STAND_IN =
      MethodTypeDesc.of(ConstantDescs.CD_Object, ConstantDescs.CD_Object, ConstantDescs.CD_Class);
  private static final String CONTEXT = KernelContext.class.getName().replace('.', '/');
  private static final ClassDesc SITES = ClassDesc.of(LocalSites.class.getName());
  private static final MethodTypeDesc ENTER =
      MethodTypeDesc.of(
          ConstantDescs.CD_void, ClassDesc.of(KernelContext.class.getName()), ConstantDescs.CD_int);
  private static final MethodTypeDesc TICK = MethodTypeDesc.of(ConstantDescs.CD_void);

  private final Set<Label> passed = new HashSet<>();

  @Override
  public void accept(CodeBuilder builder, CodeElement element) {
    switch (element) {
      case LabelTarget target -> {
        passed.add(target.label());
        builder.with(target);
      }
      case BranchInstruction branch -> {
        if (passed.contains(branch.target())) {
          builder.invokestatic(GUARD, "tick", TICK);
        }
        builder.with(branch);
      }
      case NewPrimitiveArrayInstruction array -> {
        builder.with(array);
        spoil(builder, array.typeKind());
      }
      case InvokeInstruction call
          when call.owner().name().equalsString(CONTEXT)
              && call.name().stringValue().endsWith("LocalArray") -> {
        // the context and the size stay for the call
        builder
            .dup2()
            .pop()
            .loadConstant(LocalSites.next())
            .invokestatic(SITES, "enter", ENTER)
            .with(call);
      }
      case InvokeInstruction call when call.owner().name().equalsString(LocalTiles.REPLACED) -> {
        ClassDesc type = call.typeSymbol().returnType();
        builder.loadConstant(type).invokestatic(TILES, "standIn", STAND_IN).checkcast(type);
      }
      case InvokeInstruction call
          when call.owner().name().equalsString(HALF_FLOATS)
              && call.name().stringValue().endsWith("Half2") -> {
        MethodTypeDesc type = call.typeSymbol().insertParameterTypes(0, call.owner().asSymbol());
        builder.invokestatic(HALVES, call.name().stringValue(), type);
      }
      default -> builder.with(element);
    }
  }

  private static void spoil(CodeBuilder builder, TypeKind kind) {
    switch (kind) {
      case FLOAT -> spoil(builder, ConstantDescs.CD_float, Float.NaN);
      case INT -> spoil(builder, ConstantDescs.CD_int, LocalMemory.POISON);
      case LONG -> spoil(builder, ConstantDescs.CD_long, LocalMemory.LONG_POISON);
      default ->
          throw new IllegalStateException("arrays must be of float, int or long, got " + kind);
    }
  }

  private static void spoil(CodeBuilder builder, ClassDesc element, ConstantDesc value) {
    builder
        .dup()
        .loadConstant(value)
        .invokestatic(
            ARRAYS, "fill", MethodTypeDesc.of(ConstantDescs.CD_void, element.arrayType(), element));
  }
}
